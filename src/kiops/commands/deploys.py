"""Deploy a release again or elsewhere; roll back, with what comes back shown first."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from kiops import terminal
from kiops.client import Client, Problem
from kiops.commands.options import Json, Limit, Service, short, told
from kiops.terminal import Exit

Environment = Annotated[str, typer.Option("--environment", "-e", help="Which one; may be left out when there is one.")]


def deploy(
    service: Service,
    release: Annotated[str, typer.Argument(help="A release's id or number (`kiops releases SERVICE`).")],
    environment: Annotated[str, typer.Option("--environment", "-e", help="Into another environment than its own.")] = "",
    as_json: Json = False,
) -> None:
    """Put a release into its environment again, or into another one. It becomes a run, judged by the gate."""
    client = Client()
    found = _release(client, service, release, environment="")
    body = {"release": found["id"], "environment": environment}
    where = environment or found["environment"]
    told(client.post(f"/api/v1/services/{service}/deploys", body), f"release {found['number']} goes to {where}", as_json=as_json)


def rollback(
    service: Service,
    environment: Environment = "",
    to: Annotated[str | None, typer.Option("--to", help="A release's id or number; default: the one before.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    preview: Annotated[bool, typer.Option("--preview", help="Only show what would come back.")] = False,
    as_json: Json = False,
) -> None:
    """Return an environment to an earlier release; shows first what comes back."""
    client = Client()
    environment = environment or _only_environment(client, service)
    release = _release(client, service, to, environment=environment)["id"] if to else None
    path = f"/api/v1/services/{service}/rollback"
    found = client.get(path, environment=environment, release=release)
    if preview and as_json:
        terminal.print_json(found)
        return
    if not as_json:
        _show(found)
    if not (found["image_exists"] and found["target_reachable"]):
        raise Problem("this rollback cannot be done", advice="choose another release with --to", code="rollback.not_possible",
                      exit_code=Exit.NO)  # fmt: skip
    if preview:
        return
    if not yes and not as_json and sys.stdin.isatty() and not typer.confirm("Roll back?", default=True):
        raise typer.Exit(Exit.NO)
    body = {"environment": environment, "release": found["release"]}
    told(client.post(path, body), f"{service} goes back to release {found['release_number']}", as_json=as_json)


def releases(service: Service, environment: Environment = "", as_json: Json = False, limit: Limit = 20) -> None:
    """What was deployed, newest first."""
    rows = Client().pages(f"/api/v1/services/{service}/releases", limit=limit, environment=environment)
    if as_json:
        terminal.print_json(rows)
        return
    columns = ("release", "environment", "state", "version", "commit", "run", "by", "ready")
    shown = (
        (
            row["number"], row["environment"], row["state"], row["version"], short(row["commit"]), f"#{row['run_number']}",
            row["executor"], terminal.when(row["ready_at_ms"]),
        )
        for row in rows
    )  # fmt: skip
    terminal.table(columns, shown, nothing="No release yet.")


def _show(preview: dict[str, Any]) -> None:
    screen = terminal.screen()
    for good, yes, no in (
        (preview["image_exists"], "image there", "the image is gone"),
        (preview["target_reachable"], "target reachable", "the target cannot be reached"),
    ):
        screen.say(f"  {screen.paint('✓', '32') if good else screen.paint('✗', '31')} {yes if good else no}")
    source = f"from release {preview['from_number']} " if preview["from_number"] else ""
    screen.say(f"  {source}to release {preview['release_number']}" + ("" if preview["lines"] else ": nothing else changes"))
    for line in preview["lines"]:
        screen.say(f"    {line}")


def _only_environment(client: Client, service: str) -> str:
    names = [each["name"] for each in client.get(f"/api/v1/services/{service}/environments")["items"]]
    if len(names) == 1:
        return names[0]
    raise Problem(
        f"{service} has {len(names)} environments" + (f": {', '.join(names)}" if names else ""),
        advice="name one with --environment", code="environment.ambiguous", exit_code=Exit.ASKED_WRONGLY,
    )  # fmt: skip


def _release(client: Client, service: str, name: str, *, environment: str) -> dict[str, Any]:
    if not name.isdigit():
        return client.get(f"/api/v1/releases/{name}")
    for row in client.pages(f"/api/v1/services/{service}/releases", limit=10_000, environment=environment):
        if row["number"] == int(name):
            return row
    raise Problem(f"{service} has no release {name}", advice=f"kiops releases {service}", code="release.not_found",
                  exit_code=Exit.ASKED_WRONGLY)  # fmt: skip


def register(root: typer.Typer) -> None:
    """Adds these commands."""
    for command in (deploy, rollback, releases):
        root.command()(command)
