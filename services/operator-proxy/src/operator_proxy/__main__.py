"""Serves the operator-proxy alone: `python -m operator_proxy`."""

from shared.runtime import serve

from operator_proxy.wiring import wire

if __name__ == "__main__":
    serve(wire)
