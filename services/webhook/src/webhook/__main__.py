"""Serves webhook alone: `python -m webhook`."""

from shared.runtime import serve

from webhook.wiring import wire

if __name__ == "__main__":
    serve(wire)
