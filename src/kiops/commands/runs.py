"""Runs: the list, one with its steps, and watching one while it happens."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from kiops import terminal
from kiops.client import Client
from kiops.commands.options import Json, Limit, Number, Run, find_run, short, told
from kiops.setup.screen import Screen
from kiops.terminal import Exit

app = typer.Typer(help="Runs: list, show, watch, cancel.", no_args_is_help=True, rich_markup_mode=None)
ENDED = {"success", "failed", "blocked", "cancelled", "superseded"}
MARKS = {"success": ("✓", "32"), "warning": ("!", "33"), "failed": ("✗", "31"), "blocked": ("✗", "31"),
         "cancelled": ("·", "33"), "skipped": ("·", ""), "running": ("…", "36")}  # fmt: skip


@app.command("list")
def list_runs(
    service: Annotated[str | None, typer.Option("--service", help="Only of this service.")] = None,
    state: Annotated[list[str] | None, typer.Option("--state", help="Only in this state; may be repeated.")] = None,
    as_json: Json = False,
    limit: Limit = 30,
) -> None:
    """Newest first."""
    rows = Client().pages("/api/v1/runs", limit=limit, service=service, state=state)
    if as_json:
        terminal.print_json(rows)
        return
    columns = ("run", "service", "state", "trigger", "commit", "message", "took", "began")
    shown = (
        (
            f"#{row['number']}", row["service_name"], row["state"], row["trigger"], short(row["commit"]),
            row["message"].splitlines()[0][:50] if row["message"] else "", terminal.seconds(_took(row)),
            terminal.when(row["born_at_ms"]),
        )
        for row in rows
    )  # fmt: skip
    terminal.table(columns, shown, nothing="No run yet; push, or `kiops builds start SERVICE`.")


@app.command()
def show(run: Run, number: Number = None, as_json: Json = False) -> None:
    """One run with its steps. Exit code 1 when it failed or was blocked."""
    found = find_run(Client(), run, number)
    if as_json:
        terminal.print_json(found)
    else:
        screen = terminal.screen()
        _heading(screen, found)
        for step in found["step_rows"]:
            _step(screen, step)
        _ending(screen, found)
    raise typer.Exit(_exit(found))


@app.command()
def watch(run: Run, number: Number = None, as_json: Json = False) -> None:
    """Tells each step as it ends, until the run has. Exit code 1 when it failed or was blocked."""
    client = Client()
    found = find_run(client, run, number)
    screen = terminal.screen()
    if not as_json:
        _heading(screen, found)
    told_steps: set[tuple[str, str]] = set()
    found = _tell_new(client, screen, found, told_steps, as_json)
    if found["state"] not in ENDED:
        for _ in client.events(f"/api/v1/runs/{found['id']}/events"):
            found = _tell_new(client, screen, client.get(f"/api/v1/runs/{found['id']}"), told_steps, as_json)
            if found["state"] in ENDED:
                break
    if not as_json:
        _ending(screen, found)
    raise typer.Exit(_exit(found))


@app.command()
def cancel(run: Run, number: Number = None, as_json: Json = False) -> None:
    """Stop a run that has not ended."""
    client = Client()
    found = find_run(client, run, number)
    told(client.post(f"/api/v1/runs/{found['id']}/cancel"), f"run #{found['number']} is cancelled", as_json=as_json)


def _tell_new(client: Client, screen: Screen, run: dict[str, Any], seen: set[tuple[str, str]], as_json: bool) -> dict[str, Any]:
    for step in run["step_rows"]:
        key = (step["step"], step["environment"])
        if step["ended_at_ms"] and key not in seen:
            seen.add(key)
            terminal.print_json(step) if as_json else _step(screen, step)
    return run


def _heading(screen: Screen, run: dict[str, Any]) -> None:
    message = run["message"].splitlines()[0] if run["message"] else run["cause"]
    screen.say(f'{run["service_name"]}  "{message}"  run #{run["number"]}  {short(run["commit"])} by {run["executor"]}')


def _step(screen: Screen, step: dict[str, Any]) -> None:
    mark, colour = MARKS.get(step["state"], ("·", ""))
    name = step["step"] + (f" {step['environment']}" if step["environment"] else "")
    text = step["text"] or (f"waits for {step['waits_for']}" if step["waits_for"] else step["state"])
    screen.say(
        f"  {screen.paint(mark, colour) if colour else mark} {name:<20} {text:<56} {terminal.seconds(step['duration_ms'])}".rstrip()
    )
    if step["advice"] and step["state"] in ("failed", "blocked"):
        screen.say(f"    {'':<20} {step['advice']}")


def _ending(screen: Screen, run: dict[str, Any]) -> None:
    took = terminal.seconds(_took(run))
    reason = f": {run['reason']}" if run["reason"] else ""
    screen.say(f"  → {run['state']}{reason}   {took}".rstrip())


def _took(run: dict[str, Any]) -> int | None:
    return run["finished_at_ms"] - run["born_at_ms"] if run["finished_at_ms"] else None


def _exit(run: dict[str, Any]) -> int:
    return int(Exit.NO if run["state"] in ("failed", "blocked", "cancelled") else Exit.DONE)


def register(root: typer.Typer) -> None:
    """Adds these commands."""
    root.add_typer(app, name="runs")
