"""Options that several commands share, and how outcomes of orders are told."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from kiops import terminal
from kiops.client import Client, Problem
from kiops.terminal import Exit

Json = Annotated[bool, typer.Option("--json", help="One JSON object (or one per line), and nothing else.")]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000, help="At most this many.")]
Service = Annotated[str, typer.Argument(help="Name or id of the service.")]
Run = Annotated[str, typer.Argument(help="A run: its id, or SERVICE#NUMBER (also SERVICE NUMBER).")]
Number = Annotated[int | None, typer.Argument(help="The run's number, when its service is named.")]


def find_run(client: Client, run: str, number: int | None) -> dict[str, Any]:
    """The run that a person means: an id, `shop#3`, `shop 3`, or `shop` for its newest."""
    service, _, digits = run.partition("#")
    if number is None and digits.isdigit():
        number = int(digits)
    if number is not None:
        return client.get(f"/api/v1/services/{service}/runs/{number}")
    if run.startswith("run_"):
        return client.get(f"/api/v1/runs/{run}")
    newest = client.pages("/api/v1/runs", limit=1, service=service)
    if not newest:
        raise Problem(f"{service} has no run yet", advice=f"push, or `kiops builds start {service}`",
                      code="run.none", exit_code=Exit.NO)  # fmt: skip
    return client.get(f"/api/v1/runs/{newest[0]['id']}")


def told(outcome: dict[str, Any], what: str, *, as_json: bool) -> None:
    """What came of an order: accepted, or stored and not yet answered."""
    if as_json:
        terminal.print_json(outcome)
        return
    screen = terminal.screen()
    number = outcome.get("data", {}).get("number")
    tail = f"   run #{number}" if number else ""
    if outcome["state"] == "accepted":
        screen.say(f"{screen.paint('✓', '32')} {what}{tail}")
    else:
        screen.say(f"{screen.paint('…', '33')} {what}: not yet accepted; it is stored and will be done{tail}")


def short(commit: str | None) -> str:
    """A commit as people write it."""
    return (commit or "")[:7]


def size(number: int | None) -> str:
    """Bytes as MB."""
    return "" if number is None else f"{number / 1e6:.0f} MB"
