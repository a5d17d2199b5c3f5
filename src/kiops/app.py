"""The command line as a list of commands; each imports what it needs only when it runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from kiops import __version__
from kiops.commands import builds, chaos, data, deploys, gate, keys, platform, rebuild, runs, services, signin, upkeep
from kiops.terminal import Exit, fail

app = typer.Typer(
    name="kiops",
    help="KIOPS takes a git push to a running, scanned, judged release.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for module in (platform, signin, services, builds, runs, gate, deploys, data, rebuild, upkeep, keys, chaos):
    module.register(app)


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="The version, and nothing else.")] = False) -> None:
    if version:
        print(f"kiops {__version__}")
        raise typer.Exit()


def run(arguments: list[str]) -> None:
    """Runs one command. Errors come out as `what / do / code` and the exit code of their kind."""
    from kiops.client import Problem

    try:
        app(args=arguments, prog_name="kiops")
    except Problem as problem:
        fail(problem.what, advice=problem.advice, code=problem.code, exit_code=problem.exit_code)
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except BrokenPipeError:
        sys.stderr.close()  # whoever read our output has enough of it
        raise SystemExit(0) from None
    except Exception as problem:
        _ours(problem)
        _defect(problem)


def _ours(problem: Exception) -> None:
    """The chassis' own errors, when a command used it directly."""
    errors = sys.modules.get("shared.errors")
    if errors and isinstance(problem, errors.KiopsError):
        kind = {"rejected": Exit.ASKED_WRONGLY, "unavailable": Exit.AWAY}.get(problem.kind, Exit.DEFECT)
        fail(problem.message, advice=problem.advice, code=problem.code, exit_code=kind)
    pydantic = sys.modules.get("pydantic")
    if pydantic and isinstance(problem, pydantic.ValidationError) and problem.title.endswith("Settings"):
        _wrong_setting(problem)


def _wrong_setting(problem: Any) -> None:
    """A value in the environment that is none: its name, what is wrong and what it may be, never the value (it may be secret)."""
    import importlib

    first = problem.errors(include_input=False, include_url=False)[0]
    field = ".".join(str(part) for part in first["loc"])
    prefix = ""
    for name in list(sys.modules):
        if name == "shared.settings" or name.endswith(".settings"):
            found = getattr(importlib.import_module(name), problem.title, None)
            prefix = getattr(found, "model_config", {}).get("env_prefix", "") if found else prefix
    fail(
        f"the setting {(prefix + field).upper()} is wrong: {first['msg']}",
        advice="`kiops settings` shows every setting with its sentence",
        code="settings.wrong",
        exit_code=Exit.ASKED_WRONGLY,
    )


def _defect(problem: Exception) -> None:
    import traceback

    from kiops.setup import places

    where = places.logs() / "defect.log"
    with Path(where).open("a") as file:
        file.write("".join(traceback.format_exception(problem)))
    what = str(problem) or type(problem).__name__
    fail(what, advice=f"the details are in {places.short(where)}", code="kiops.defect", exit_code=Exit.DEFECT)
