"""Serves the scanner alone: `python -m scanner`."""

from shared.runtime import serve

from scanner.wiring import wire

if __name__ == "__main__":
    serve(wire)
