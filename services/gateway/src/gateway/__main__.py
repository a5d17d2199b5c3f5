"""Serves the gateway alone: `python -m gateway`."""

from shared.runtime import serve

from gateway.wiring import wire

if __name__ == "__main__":
    serve(wire)
