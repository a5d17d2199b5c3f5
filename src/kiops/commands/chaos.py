"""Kills by hand: a platform of its own in a temporary folder, never the one that runs here."""

from __future__ import annotations

from typing import Annotated

import typer

from kiops import terminal
from kiops.terminal import Exit, fail

Json = Annotated[bool, typer.Option("--json", help="The figures as one JSON object on the last line.")]


def chaos(
    kills: Annotated[int, typer.Option("--kills", min=0, max=10_000, help="How many parts are killed with -9.")] = 30,
    pushes: Annotated[int, typer.Option("--pushes", min=1, max=1_000_000, help="How many pushes are sent meanwhile.")] = 1500,
    services: Annotated[int, typer.Option("--services", min=1, max=1000, help="How many services they go to.")] = 40,
    database: Annotated[str, typer.Option("--database", help="sqlite, or postgresql, which is killed too.")] = "postgresql",
    as_json: Json = False,
) -> None:
    """Kill the parts of a platform of its own while pushes arrive, and count what was lost, doubled or stuck."""
    import asyncio
    import shutil
    import tempfile
    import time
    from pathlib import Path

    from shared.testing.postgres import Postgres, PostgresMissing

    from kiops.chaos.blows import chaos as run

    if database not in ("sqlite", "postgresql"):
        fail(f"{database} is no database that KIOPS knows", advice="--database sqlite or postgresql",
             code="chaos.database", exit_code=Exit.ASKED_WRONGLY)  # fmt: skip
    postgres = None
    if database == "postgresql":
        try:
            postgres = Postgres.create(autovacuum=True)
        except PostgresMissing as problem:
            fail(f"PostgreSQL: {problem}", advice="install it (apt install postgresql), or --database sqlite",
                 code="chaos.postgresql", exit_code=Exit.AWAY)  # fmt: skip
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="kiops-chaos-"))
    well = False

    def say(text: str) -> None:
        print(f"{time.monotonic() - began:7.1f} s  {text}", flush=True)

    try:
        say(f"a platform of its own in {folder}, databases on {database}")
        outcome, _ = asyncio.run(run(folder, kills=kills, pushes=pushes, services=services, postgres=postgres, say=say))
        well = outcome.well
        for sentence in outcome.wrong:
            say(sentence)
        say("nothing was lost, doubled, out of order, stuck or left over" if well else f"logs are kept in {folder}")
    finally:
        if postgres:
            postgres.remove()
        if well:
            shutil.rmtree(folder, ignore_errors=True)
    if as_json:
        terminal.print_json(outcome.figures())
    else:
        terminal.table(("figure", "number"), list(outcome.figures().items()), nothing="")
    raise typer.Exit(Exit.DONE if well else Exit.NO)


def register(app: typer.Typer) -> None:
    """Adds this command."""
    app.command()(chaos)
