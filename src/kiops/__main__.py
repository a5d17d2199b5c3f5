"""Entry point of the command line: `python -m kiops`, which the launcher becomes."""

from __future__ import annotations

import os
import sys

from kiops.setup import places


def main() -> None:
    """Runs one command and ends with its exit code."""
    os.environ.setdefault("HOME", str(places.user_home()))  # uv and git want to know
    os.environ["KIOPS_HOME"] = str(places.home())
    arguments = sys.argv[1:]
    if arguments[:1] == ["test"]:
        from kiops.testing import main as test

        raise SystemExit(test(arguments[1:]))
    from kiops.app import run

    run(arguments)


if __name__ == "__main__":
    main()
