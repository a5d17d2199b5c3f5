"""The read model made anew from the first fact, while it serves."""

from __future__ import annotations

import sys
import time
from typing import Any

import typer

from kiops import terminal
from kiops.client import Client, Problem
from kiops.commands.options import Json
from kiops.terminal import Exit

ADDRESS = "/api/v1/read-model/rebuild"
LOOK_SECONDS = 0.5


def rebuild(as_json: Json = False) -> None:
    """Make everything that pages and the API show again from the stream. Both go on meanwhile; the old rows serve to the end."""
    client = Client()
    found = client.post(ADDRESS)
    while found["state"] == "running":
        _say(found, as_json)
        time.sleep(LOOK_SECONDS)
        found = client.get(ADDRESS)
    _say(found, as_json)
    if sys.stderr.isatty() and not as_json:
        print(file=sys.stderr)
    if as_json:
        terminal.print_json(found)
    if found["state"] != "done":
        raise Problem(f"the read model was not rebuilt: {found['reason']}", advice="The one that serves goes on; try it again.",
                      code=found["code"] or "rebuild.failed", exit_code=Exit.AWAY)  # fmt: skip
    if not as_json:
        took = terminal.seconds(found["ended_at_ms"] - found["began_at_ms"])
        print(f"{found['of']} positions of the stream read in {took}; the fresh read model serves")


def _say(found: dict[str, Any], as_json: bool) -> None:
    """How far it is, in place on a terminal."""
    if sys.stderr.isatty() and not as_json and found["of"]:
        print(f"\r{found['position']} of {found['of']}", end="", file=sys.stderr, flush=True)


def register(root: typer.Typer) -> None:
    """Adds these commands."""
    root.command()(rebuild)
