"""Keys: which there are, and how they are replaced while everything runs."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from kiops import catalogue, folder, terminal
from kiops.commands.options import Json
from kiops.terminal import Exit, fail

keys = typer.Typer(help="Keys of the services: list, replace while they run.", no_args_is_help=True, rich_markup_mode=None)
Data = Annotated[Path | None, typer.Option("--data", help="The data folder; default: data below KIOPS_HOME.")]


@keys.command("list")
def list_keys(as_json: Json = False, data: Data = None) -> None:
    """Which keys there are, by their public halves; a secret one is never shown."""
    from kiops import rotating

    found = rotating.listed(folder.root(data))
    now_ms = time.time() * 1000
    rows = [
        {"service": key.identity, "for": "bus", "key": key.public, "state": key.state, "since_ms": key.since_ms}
        for key in found.bus
    ]
    if as_json:
        terminal.print_json(rows)
        return
    told = ((row["service"], row["for"], row["key"], row["state"], _age(now_ms - row["since_ms"])) for row in rows)
    terminal.table(("service", "for", "public key", "state", "since"), told, nothing="")


@keys.command()
def rotate(
    service: Annotated[
        list[str] | None, typer.Option("--service", help="This one's key for the bus; may be given several times.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="The keys for the bus of all services, and our own.")] = False,
    wait: Annotated[float, typer.Option("--wait", min=0, help="Seconds a service may take to sign in with its new key.")] = 30.0,
    force: Annotated[
        bool, typer.Option("--force", help="Take the former key out after that time also when its service did not sign in: a leak.")
    ] = False,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config", envvar="KIOPS_BUS_CONFIG", help="nats-server's configuration; default: the one below the data folder."
        ),
    ] = None,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Replace keys while everything runs. Nothing stops, nothing is lost; the former key is refused afterwards."""
    from shared.settings import PlatformSettings

    from kiops import rotating

    names = list(rotating.NAMES) if everything else list(dict.fromkeys(service or []))
    if not names:
        fail("nothing is named", advice="--service NAME or --all", code="keys.nothing_named", exit_code=Exit.ASKED_WRONGLY)
    if unknown := [name for name in names if name not in rotating.NAMES]:
        fail(
            f"there is no service {unknown[0]}", advice=f"one of {', '.join(rotating.NAMES)}",
            code="keys.unknown_service", exit_code=Exit.ASKED_WRONGLY,
        )  # fmt: skip
    root = folder.root(data)
    url = PlatformSettings(data=root).bus_url
    server = rotating.find_server(root, config, url)
    if not server.url and (running := folder.served(root, catalogue.NAMES)):
        fail(
            f"{', '.join(running)} runs here, but where is its nats-server?", advice="set KIOPS_BUS_URL to its address",
            code="keys.no_bus", exit_code=Exit.AWAY,
        )  # fmt: skip
    done = asyncio.run(rotating.rotate(server, names, seconds=wait, force=force))
    late = [each for each in done if each.waiting]
    if as_json:
        terminal.print_json([_row(each) for each in done])
    else:
        screen = terminal.screen()
        for each in done:
            if not each.waiting:
                screen.say(f"{screen.paint('✓', '32')} {each.name}   has a new key   {each.key}")
    if late:
        fail(
            "; ".join(f"{each.name}: {each.why}" for each in late),
            advice="the former key is still accepted, so nothing stops; start the service and run this again, which goes on\n"
            "from here (--force takes the former key out all the same)",
            code="keys.not_moved",
            exit_code=Exit.AWAY,
        )


def _row(each: Any) -> dict[str, Any]:
    return {
        "service": each.name,
        "key": each.key,
        "former": each.former,
        "state": "waiting" if each.waiting else "done",
        "reason": each.why if each.waiting else "",
    }


def _age(milliseconds: float) -> str:
    """How long ago, as a person says it."""
    for unit, name in ((86_400_000, "days"), (3_600_000, "hours"), (60_000, "minutes")):
        if milliseconds >= 2 * unit:
            return f"{milliseconds / unit:.0f} {name} ago"
    return "just now"


def register(app: typer.Typer) -> None:
    """Adds these commands."""
    app.add_typer(keys, name="keys")
