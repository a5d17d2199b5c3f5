"""The platform itself: up, down, demo, status, doctor, serve, test, migrate, settings."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from kiops import terminal
from kiops.terminal import Exit, fail

Data = Annotated[Path | None, typer.Option("--data", help="The data folder; default: data below KIOPS_HOME.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object (or one per line), and nothing else.")]


def up(
    demo: Annotated[bool, typer.Option("--demo", help="Send a sample service through, and tell it live.")] = False,
    port: Annotated[int, typer.Option("--port", envvar="KIOPS_PORT", help="Port of the pages and the API.")] = 8640,
    host: Annotated[str, typer.Option("--host", envvar="KIOPS_HOST", help="Address to serve on.")] = "127.0.0.1",
    data: Data = None,
    no_install: Annotated[bool, typer.Option("--no-install", envvar="KIOPS_NO_INSTALL", help="Leave the system as it is.")] = False,
    trusted_proxy: Annotated[
        list[str] | None, typer.Option("--trusted-proxy", help="Address of a proxy whose X-Forwarded-For is believed.")
    ] = None,
) -> None:
    """Start everything here: seven services, nats-server, the edge. Ctrl-C ends it."""
    from kiops.up import up as start

    journey = None
    if demo:
        from kiops.demo import journey
    start(data=data, host=host, port=port, may_install=not no_install, proxies=trusted_proxy or (), journey=journey)


def down(
    remove_demo: Annotated[
        bool, typer.Option("--remove-demo", help="Remove the sample's containers, images and data too.")
    ] = False,
    data: Data = None,
) -> None:
    """Stop what `up` started. What KIOPS deployed keeps running."""
    from kiops import ending

    root = _root(data)
    if remove_demo:
        ending.remove_demo(root)
    ending.stop(root)


def demo(data: Data = None) -> None:
    """Send a sample service through a KIOPS that runs here."""
    import asyncio

    from kiops import folder
    from kiops.demo import journey

    root = _root(data)
    state = folder.served(root, ["gateway"]).get("gateway")
    if not state:
        fail("KIOPS does not run here", advice="./kiops up --demo", code="client.not_running", exit_code=Exit.AWAY)
    asyncio.run(journey(state["url"], folder.token(root), root))


def status(as_json: Json = False, data: Data = None) -> None:
    """What runs, in which instances with which roles, what is not ready and why, and how much memory it takes."""
    from kiops.status import instance_rows, look

    found = look(_root(data))
    if as_json:
        terminal.print_json(found)
    elif not found["services"]:
        print("KIOPS does not run here; `./kiops up` starts it.")
    else:
        rows = []
        for name, service in found["services"].items():
            amiss = service["failing"] | service["remarks"]
            why = "; ".join(f"{what}: {text}" for what, text in amiss.items())
            rows.append((name, "ready" if service["ready"] else "not ready", why))
        print(f"{found['url'] or 'without the gateway'}   pid {', '.join(map(str, found['pids']))}")
        terminal.table(("service", "state", "why"), rows, nothing="")
        if instances := instance_rows(found["services"]):
            print()
            terminal.table(("instance of", "at", "pid", "up for", "roles"), instances, nothing="")
        print(f"memory   {found['pss_mb']:.0f} MB (PSS), {found['rss_mb']:.0f} MB (RSS)", end="")
        for part in ("edge", "engine"):
            if found[part]:
                print(f"; {part} {found[part]['pss_mb']:.0f} MB", end="")
        print()
    raise typer.Exit(Exit.DONE if found["ready"] else Exit.NO)


def doctor(as_json: Json = False, data: Data = None) -> None:
    """What is missing or wrong on this machine or with the stream of facts, and the command that mends it."""
    from kiops.setup.doctor import report

    raise typer.Exit(report(terminal.screen(), _root(data), as_json=as_json))


def serve(
    names: Annotated[list[str], typer.Argument(help="Services to run in this process, or all.")],
    port: Annotated[
        int | None, typer.Option("--port", envvar="KIOPS_PORT", help="HTTP port; default 8640 with the gateway, else a free one.")
    ] = None,
    host: Annotated[str, typer.Option("--host", envvar="KIOPS_HOST", help="Address to serve on.")] = "127.0.0.1",
    data: Data = None,
) -> None:
    """Run one, some or all services in this process: the same streams and databases as `up`."""
    from kiops.up import serve as start

    start(names, data=data, host=host, port=port)


def migrate(
    names: Annotated[list[str] | None, typer.Argument(help="Services; all when none is named.")] = None,
    data: Data = None,
) -> None:
    """Declare streams and durables, and bring the services' databases to their newest migration."""
    from kiops.migrating import migrate as bring

    bring(names or [], _root(data))


def provision(
    what: Annotated[str, typer.Argument(help="keys (before nats-server and PostgreSQL start) or databases (after).")],
    bus: Annotated[Path | None, typer.Option("--bus", help="Folder of a nats-server to configure.")] = None,
    postgres: Annotated[Path | None, typer.Option("--postgres", help="Folder for PostgreSQL's first password.")] = None,
    database_host: Annotated[str, typer.Option("--database-host", help="Name of PostgreSQL's machine.")] = "postgres",
    mount: Annotated[list[Path] | None, typer.Option("--mount", help="A volume below one service's folder.")] = None,
    data: Data = None,
) -> None:
    """Make what containers need before they start: keys, passwords, roles, databases. compose.yaml runs it."""
    from kiops import provision as provisioning

    root = _root(data)
    if what == "keys":
        provisioning.keys(root, bus=bus, postgres=postgres, database_host=database_host, mounts=mount or ())
    elif what == "databases":
        provisioning.databases(root)
    else:
        fail(f"there is nothing called {what} to provision", advice="keys or databases", code="provision.unknown",
             exit_code=Exit.ASKED_WRONGLY)  # fmt: skip


def settings(as_json: Json = False) -> None:
    """Every setting with its value and its sentence; secrets are not shown."""
    from kiops.settings import every

    rows = every()
    if as_json:
        terminal.print_json([{"name": n, "value": v, "default": d, "says": s, "of": o} for n, v, d, s, o in rows])
        return
    owner = ""
    for name, value, default, says, of in rows:
        if of != owner:
            owner = of
            print(f"\n{of}")
        changed = "" if value == default else f"   (default {default})"
        print(f"  {name}={value}{changed}\n      {says}")


def test_help() -> None:
    """Set up what the tests need and run them: `./kiops test [--all] [PATH] [-k WORD]`."""
    from kiops.testing import USAGE

    print(USAGE, end="")


def _root(data: Path | None) -> Path:
    from kiops import folder

    if data is not None:
        os.environ["KIOPS_DATA"] = str(data.expanduser().absolute())
    return folder.root(data)


def register(app: typer.Typer) -> None:
    """Adds these commands."""
    for command in (up, down, demo, status, doctor, serve, migrate, provision, settings):
        app.command()(command)
    app.command(name="test")(test_help)
