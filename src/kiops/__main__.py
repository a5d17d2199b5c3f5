"""Entry point of the command line: `python -m kiops`, which the launcher becomes."""

from __future__ import annotations

import sys


def main() -> None:
    """Runs one command and ends with its exit code."""
    print("kiops", sys.argv[1:], flush=True)


if __name__ == "__main__":
    main()
