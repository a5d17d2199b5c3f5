"""The rebuilding process: `python -m gateway.rebuilding`, started by the gateway, never by a person."""

from gateway.rebuilding.child import main

if __name__ == "__main__":
    main()
