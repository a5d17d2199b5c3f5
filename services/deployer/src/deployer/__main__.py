"""Serves the deployer alone: `python -m deployer`."""

from shared.runtime import serve

from deployer.wiring import wire

if __name__ == "__main__":
    serve(wire)
