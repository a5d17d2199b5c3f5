"""Serves the builder alone: `python -m builder`."""

from shared.runtime import serve

from builder.wiring import wire

if __name__ == "__main__":
    serve(wire)
