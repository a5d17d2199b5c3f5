"""The gate: why something was let through, or not, and what would make it pass."""

from __future__ import annotations

from typing import Any

import typer

from kiops import terminal
from kiops.client import Client, Problem
from kiops.commands.options import Json, Number, Run, find_run
from kiops.terminal import Exit

app = typer.Typer(help="The gate: explain a verdict.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def _gate() -> None:
    """The gate's verdicts."""


@app.command()
def explain(run: Run, number: Number = None, as_json: Json = False) -> None:
    """Every verdict of a run (or one decision): rule, finding, and what would make it pass. Exit code 1 when blocked."""
    client = Client()
    if run.startswith("dec_"):
        decisions = [client.get(f"/api/v1/decisions/{run}")]
    else:
        found = find_run(client, run, number)
        decisions = client.get(f"/api/v1/runs/{found['id']}/decisions")["items"]
        if not decisions:
            raise Problem(f"run #{found['number']} has no verdict yet", advice=f"kiops runs show {found['id']}",
                          code="gate.undecided", exit_code=Exit.NO)  # fmt: skip
    if as_json:
        terminal.print_json(decisions)
    else:
        for decision in decisions:
            _tell(decision)
    raise typer.Exit(Exit.NO if any(each["verdict"] == "block" for each in decisions) else Exit.DONE)


def _tell(decision: dict[str, Any]) -> None:
    screen = terminal.screen()
    mark, colour = {"pass": ("✓", "32"), "warn": ("!", "33")}.get(decision["verdict"], ("✗", "31"))
    where = f"{decision['environment']} ({decision['environment_kind']})" if decision["environment"] else "for information"
    screen.say(f"{screen.paint(mark, colour)} {decision['verdict']:<6} {where}: {decision['sentence']}")
    body = decision["body"]
    for area in body.get("areas", []):
        sample = " (sample data)" if area.get("sample_data") else ""
        screen.say(f"    {area['area']:<9} {area['verdict']:<6} {area['evidence']:<15} {area.get('text', '')}{sample}".rstrip())
    for reason in body.get("reasons", []):
        screen.say(f"    {reason['effect']:<6} {reason['rule']}: {reason['text']}")
        if reason.get("pass_by"):
            screen.say(f"           to pass: {reason['pass_by']}")
    for way in body.get("ways", []):
        screen.say(f"    to pass  {way}")


def register(root: typer.Typer) -> None:
    """Adds these commands."""
    root.add_typer(app, name="gate")
