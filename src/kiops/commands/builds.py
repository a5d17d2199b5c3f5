"""Builds: start one by hand, list them, follow a log, cancel."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from kiops import terminal
from kiops.client import Client, Problem
from kiops.commands.options import Json, Limit, Service, find_run, short, size, told
from kiops.terminal import Exit

app = typer.Typer(help="Builds: start, list, logs, cancel.", no_args_is_help=True, rich_markup_mode=None)
Build = Annotated[str, typer.Argument(help="A build's or run's id, or SERVICE#NUMBER.")]


@app.command()
def start(
    service: Service,
    branch: Annotated[str, typer.Option("--branch", help="Build this branch; default: the service's.")] = "",
    tag: Annotated[str, typer.Option("--tag")] = "",
    commit: Annotated[str, typer.Option("--commit")] = "",
    version: Annotated[str | None, typer.Option("--version", help="The image's version; default: made of the commit.")] = None,
    build_only: Annotated[bool, typer.Option("--build-only", help="Deploy it nowhere.")] = False,
    as_json: Json = False,
) -> None:
    """Begin a run by hand."""
    body: dict[str, Any] = {"branch": branch, "tag": tag, "commit": commit, "version": version}
    if build_only:
        body["environments"] = []
    told(Client().post(f"/api/v1/services/{service}/builds", body), f"build of {service} accepted", as_json=as_json)


@app.command("list")
def list_builds(
    service: Annotated[str | None, typer.Option("--service", help="Only of this service.")] = None,
    as_json: Json = False,
    limit: Limit = 30,
) -> None:
    """Newest first."""
    rows = Client().pages("/api/v1/builds", limit=limit, service=service)
    if as_json:
        terminal.print_json(rows)
        return
    columns = ("build", "run", "state", "version", "commit", "size", "took", "began")
    shown = (
        (
            row["id"], f"#{row['number']}", row["state"], row["version"], short(row["commit"]), size(row["size_bytes"]),
            terminal.seconds(row["duration_ms"]), terminal.when(row["started_at_ms"] or row["queued_at_ms"]),
        )
        for row in rows
    )  # fmt: skip
    terminal.table(columns, shown, nothing="No build yet.")


@app.command()
def logs(
    build: Build,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the build has ended.")] = False,
    as_json: Json = False,
) -> None:
    """A build's log; followed, the command ends with the build: 0 when it succeeded, else 1."""
    client = Client()
    found = _build(client, build)
    if not follow:
        _print_log(client, found["id"], as_json)
        return
    for name, data in client.events(f"/api/v1/builds/{found['id']}/log"):
        if name == "line":
            terminal.print_json(data) if as_json else print(data["text"], flush=True)
        elif name == "problem":
            raise Problem(data["detail"], advice=data.get("advice", ""), code=data["code"], exit_code=Exit.AWAY)
        elif name == "end":
            break
    ended = client.get(f"/api/v1/builds/{found['id']}")
    if ended["state"] in ("failed", "cancelled"):
        raise Problem(ended["reason"] or f"the build is {ended['state']}", advice=ended["advice"],
                      code=ended["code"] or f"build.{ended['state']}", exit_code=Exit.NO)  # fmt: skip


def _print_log(client: Client, build: str, as_json: bool) -> None:
    import sys

    kind = "application/x-ndjson" if as_json else "text/plain"
    for chunk in client.text(f"/api/v1/builds/{build}/log", accept=kind):
        sys.stdout.write(chunk)


@app.command()
def cancel(build: Build, as_json: Json = False) -> None:
    """Stop a build, and the run it belongs to."""
    client = Client()
    found = _build(client, build)
    told(client.post(f"/api/v1/runs/{found['run_id']}/cancel"), f"run #{found['number']} is cancelled", as_json=as_json)


def _build(client: Client, name: str) -> dict[str, Any]:
    if name.startswith(("bld_", "run_")):
        return client.get(f"/api/v1/builds/{name}")
    run = find_run(client, name, None)
    if run["build"] is None:
        raise Problem(
            f"run #{run['number']} has no build", advice=f"kiops runs show {run['id']}", code="build.none", exit_code=Exit.NO
        )
    return run["build"]


def register(root: typer.Typer) -> None:
    """Adds these commands."""
    root.add_typer(app, name="builds")
