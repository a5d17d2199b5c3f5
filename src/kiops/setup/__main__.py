"""What the launcher runs when the environment is not there: sets up, then becomes the command itself.

Usage: python3 -m kiops.setup COMMAND [ARGUMENTS...]
"""

from __future__ import annotations

import os
import sys

from kiops.setup import places, plan
from kiops.setup.screen import NeedsHelp, give_up

FIRST_HELP = """KIOPS takes a git push to a running, scanned, judged release.

  ./kiops up --demo    start, and send a sample service through (sets up what is missing, and says so first)
  ./kiops up           start
  ./kiops test         set up what the tests need and run them
  ./kiops doctor       what is missing or wrong, and the command that mends it

After the first start `./kiops --help` lists every command. --no-install leaves the system as it is.
"""


def main() -> None:
    os.environ.setdefault("HOME", str(places.user_home()))  # uv and git want to know
    arguments = sys.argv[1:]
    command = next((a for a in arguments if not a.startswith("-")), "")
    if command == "" or "--help" in arguments or "-h" in arguments:
        print(FIRST_HELP, end="")
        return
    screen = plan.screen_for(arguments)
    if command == "doctor":
        from kiops import folder
        from kiops.setup.doctor import report

        raise SystemExit(report(screen, folder.root(), as_json="--json" in arguments))
    try:
        done = plan.prepare(
            command, screen, may_install=plan.may_install(arguments), heavy="--all" in arguments, small="--fast" in arguments
        )
    except NeedsHelp as problem:
        give_up(screen, problem)
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    environment = places.environment("test" if command == "test" else "run")
    python = environment / "bin" / "python"
    if not python.exists():
        give_up(screen, NeedsHelp("the environment is not there", advice="./kiops up", code="setup.incomplete"))
    if done.engine:
        os.environ["KIOPS_ENGINE_STARTED"] = "1"
    os.execv(python, [str(python), "-m", "kiops", *arguments])


if __name__ == "__main__":
    main()
