"""Serves the gate alone: `python -m gate`."""

from shared.runtime import serve

from gate.wiring import wire

if __name__ == "__main__":
    serve(wire)
