"""Services: add one, list them, show one, test whether its repository can be read."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from kiops import terminal
from kiops.client import Client
from kiops.commands.options import Json, Limit, Service, short

app = typer.Typer(help="Services: add, list, show, test.", no_args_is_help=True, rich_markup_mode=None)


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="A DNS label: letters, digits and hyphens.")],
    repository: Annotated[str, typer.Argument(help="Any Git URL, or a folder below an allowed root.")],
    branch: Annotated[str, typer.Option("--branch", help="Its branch.")] = "main",
    description: Annotated[str, typer.Option("--description")] = "",
    dockerfile: Annotated[str, typer.Option("--dockerfile", help="Path in the repository.")] = "./Dockerfile",
    context: Annotated[str, typer.Option("--context", help="Build context in the repository.")] = ".",
    environment: Annotated[
        str, typer.Option("--environment", help="First deploy target; empty: build and scan only.")
    ] = "development",
    production: Annotated[bool, typer.Option("--production", help="Judge that environment as production.")] = False,
    port: Annotated[int, typer.Option("--port", help="Port the container listens on.")] = 8080,
    health: Annotated[str, typer.Option("--health", help="Path that answers 200 when it is healthy.")] = "/",
    own_port: Annotated[bool, typer.Option("--own-port", help="Give it a port of the edge of its own.")] = False,
    observe_seconds: Annotated[int, typer.Option("--observe-seconds", help="How long it is watched after a switch.")] = 60,
    username: Annotated[str, typer.Option("--username", help="For a repository that asks for one.")] = "",
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read password or token of the repository from standard input.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Register a service, with its first environment; pushes to its branch then go there."""
    if "://" not in repository and Path(repository).expanduser().exists():
        repository = str(Path(repository).expanduser().resolve())
    body: dict[str, Any] = {
        "name": name, "repository_url": repository, "branch": branch, "description": description,
        "dockerfile": dockerfile, "context": context,
    }  # fmt: skip
    if environment:
        body["environment"] = {
            "name": environment, "kind": "production" if production else "not_production", "container_port": port,
            "health_path": health, "own_port": own_port, "observe_seconds": observe_seconds,
        }  # fmt: skip
    if username or password_stdin:
        body["credential"] = {"username": username, "password": _password(password_stdin)}
    client = Client()
    made = client.post("/api/v1/services", body)
    if as_json:
        terminal.print_json(made)
        return
    screen = terminal.screen()
    screen.say(f"{screen.paint('✓', '32')} registered {made['name']}")
    for endpoint in client.get(f"/api/v1/services/{name}/endpoints")["items"]:
        screen.say(f"  webhook   {endpoint['url']}   (secret: kiops services secret {name})")


def _password(from_stdin: bool) -> str:
    if from_stdin or not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n")
    import getpass

    return getpass.getpass("Password or token: ")


@app.command("list")
def list_services(as_json: Json = False, limit: Limit = 200) -> None:
    """All services with what runs of them."""
    rows = Client().pages("/api/v1/services", limit=limit)
    if as_json:
        terminal.print_json(rows)
        return
    columns = ("service", "state", "version", "environment", "last run", "address")
    shown = (
        (
            row["name"], row["state"], row["deployed_version"] or short(row["deployed_commit"]),
            row["deployed_environment"], f"#{row['last_run_number']}" if row["last_run_number"] else "",
            row["deployed_url"],
        )
        for row in rows
    )  # fmt: skip
    terminal.table(columns, shown, nothing="No service yet; `kiops services add NAME REPOSITORY` registers one.")


@app.command()
def show(service: Service, as_json: Json = False) -> None:
    """One service: its environments, what serves in each, and which pushes count."""
    row = Client().get(f"/api/v1/services/{service}")
    if as_json:
        terminal.print_json(row)
        return
    print(f"{row['name']}   {row['state']}   {row['repository_url']} ({row['branch']})")
    if rule := row["rule"]:
        sources, targets = ", ".join(rule["branches"] + rule["tags"]), ", ".join(rule["environments"])
        print(f"pushes to {sources or 'nothing'} go to {targets or 'no environment'}")
    columns = ("environment", "kind", "state", "release", "version", "address")
    shown = (
        (each["name"], each["kind"], each["state"], each["release_number"], each["version"] or short(each["commit"]), each["url"])
        for each in row["environments"]
    )
    terminal.table(columns, shown, nothing="No environment.")


@app.command()
def test(service: Service, as_json: Json = False) -> None:
    """Can its repository be read, with the stored credential?"""
    found = Client().post(f"/api/v1/services/{service}/test")
    if as_json:
        terminal.print_json(found)
        return
    screen = terminal.screen()
    screen.say(
        f"{screen.paint('✓', '32')} {service}: the repository can be read; default branch {found['default_branch']}, "
        f"{len(found['branches'])} branches, {len(found['tags'])} tags"
    )


@app.command()
def secret(service: Service, as_json: Json = False) -> None:
    """The webhook secrets of a service. That they were shown is written to the audit."""
    client = Client()
    endpoints = client.get(f"/api/v1/services/{service}/endpoints")["items"]
    shown = [client.post(f"/api/v1/endpoints/{endpoint['id']}/secret") | {"url": endpoint["url"]} for endpoint in endpoints]
    if as_json:
        terminal.print_json(shown)
    else:
        terminal.table(
            ("endpoint", "address", "secret"), ((e["label"], e["url"], e["secret"]) for e in shown), nothing="No endpoint."
        )


def register(root: typer.Typer) -> None:
    """Adds these commands."""
    root.add_typer(app, name="services")
