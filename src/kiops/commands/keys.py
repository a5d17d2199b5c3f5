"""Keys: which there are, and how they are replaced while everything runs."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from kiops import catalogue, folder, terminal
from kiops.client import Client, Problem
from kiops.commands.options import Json
from kiops.terminal import Exit, fail

keys = typer.Typer(help="Keys of the services: list, replace while they run.", no_args_is_help=True, rich_markup_mode=None)
Services = Annotated[list[str] | None, typer.Option("--service", help="This service; may be given several times.")]
Data = Annotated[Path | None, typer.Option("--data", help="The data folder; default: data below KIOPS_HOME.")]


@keys.command("list")
def list_keys(as_json: Json = False, data: Data = None) -> None:
    """Which keys there are, by their public halves; a secret one is never shown."""
    from kiops import rotating

    found = rotating.listed(folder.root(data))
    if as_json:
        terminal.print_json(
            [
                {"service": each.name, "for": each.purpose, "key": each.key, "state": each.state, "since_ms": each.since_ms}
                for each in found
            ]
        )
        return
    now_ms = time.time() * 1000
    rows = ((each.name, each.purpose, each.key, each.state, _age(now_ms - each.since_ms)) for each in found)
    terminal.table(("service", "for", "public key or its id", "state", "since"), rows, nothing="")


@keys.command()
def rotate(
    service: Services = None,
    everything: Annotated[bool, typer.Option("--all", help="The keys of all services; for the bus our own ones too.")] = False,
    sealing: Annotated[
        bool, typer.Option("--sealing", help="The keys that secrets are sealed to, instead of those for the bus.")
    ] = False,
    forms: Annotated[bool, typer.Option("--forms", help="The key that the pages' forms are signed with, instead.")] = False,
    wait: Annotated[float, typer.Option("--wait", min=0, help="Seconds a service may take to sign in with its new key.")] = 30.0,
    force: Annotated[
        bool, typer.Option("--force", help="After a leak: take the former key out in any case; refuse forms that are open.")
    ] = False,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config", envvar="KIOPS_BUS_CONFIG", help="nats-server's configuration; default: bus/nats.conf in the data folder."
        ),
    ] = None,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Replace keys while everything runs. Nothing stops, nothing is lost; the former key is refused afterwards."""
    from shared.settings import PlatformSettings

    from kiops import rotating

    if forms:
        _replace_form_key(folder.root(data), force, as_json)
        return
    known = catalogue.NAMES if sealing else rotating.NAMES
    names = _named(list(known) if everything else service, known)
    if not names:
        fail("nothing is named", advice="--service NAME or --all", code="keys.nothing_named", exit_code=Exit.ASKED_WRONGLY)
    root = folder.root(data)
    if sealing:
        _rotate_sealing(root, names, as_json)
        return
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


@keys.command()
def retire(
    service: Services = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Take away former sealing keys, after everything that is sealed to them was sealed again."""
    from kiops import rotating

    root = folder.root(data)
    ages = rotating.to_retire(root, _named(service, catalogue.NAMES) or catalogue.NAMES)
    if not ages:
        if not as_json:
            print("No service has a former key.")
        return
    if young := [name for name, age in ages.items() if age < rotating.RETIRE_AFTER_SECONDS]:
        fail(
            f"the key of {', '.join(young)} was replaced just now, and something may be on its way sealed to the former one",
            advice=f"try it again {rotating.RETIRE_AFTER_SECONDS:.0f} seconds after it was replaced",
            code="keys.too_fresh", exit_code=Exit.NO,
        )  # fmt: skip
    if not yes and not typer.confirm("A backup from before these keys were replaced cannot be opened without them. Go on?"):
        raise typer.Exit(Exit.NO)
    for name in ages:
        rotating.publish(root, name)
    rows = _renewed(root, {name: rotating.pair(root, name).id for name in ages})
    for row in rows:
        if not row["code"]:
            row["retired"] = rotating.retire_sealing(root, row["service"])
    _tell_sealing(rows, as_json, "has only its newest key", "Former keys that may still be needed stay; run it again.")


def _replace_form_key(root: Path, at_once: bool, as_json: bool) -> None:
    os.environ["KIOPS_DATA"] = str(root)
    Client().post(f"/api/v1/form-key?at_once={'true' if at_once else 'false'}")
    if as_json:
        terminal.print_json({"for": "forms", "state": "done"})
    else:
        told = "forms that are open now are refused" if at_once else "forms that are open now are taken for a day"
        terminal.screen().say(f"{terminal.screen().paint('✓', '32')} forms   are signed with a new key; {told}")


def _rotate_sealing(root: Path, names: Sequence[str], as_json: bool) -> None:
    from kiops import rotating

    rows = _renewed(root, rotating.replace_sealing(root, names))
    _tell_sealing(
        rows, as_json, "seals to a new key",
        "The new keys are in use and the former ones still open everything; `kiops keys retire` goes on from here.",
    )  # fmt: skip


def _renewed(root: Path, keys: Mapping[str, str]) -> list[dict[str, Any]]:
    """What each service (name -> id of its newest key) has sealed again; `reason` says why that is not all."""
    os.environ["KIOPS_DATA"] = str(root)  # where the client looks for the gateway's address
    try:
        told = {row["service"]: row for row in Client(timeout_seconds=600).post("/api/v1/sealing/renew")["items"]}
    except Problem as problem:
        told = {name: {"code": problem.code, "reason": problem.what} for name in keys}
    rows = []
    for name, key in keys.items():
        silent = {"code": "keys.silent", "reason": "nothing was heard of it"}
        row = {"service": name, "key": key, "renewed": 0, "left": 0, "unreadable": 0} | told.get(name, silent)
        if not row["code"] and row["key"] != key:
            row |= {"code": "keys.elsewhere", "reason": "it answers with another key: its key folder is not this one"}
        if not row["code"] and row["left"]:
            row |= {"code": "keys.left", "reason": f"{row['left']} secrets are still sealed to a former key"}
        rows.append(row | {"service": name, "key": key})
    return rows


def _tell_sealing(rows: Sequence[Mapping[str, Any]], as_json: bool, done: str, advice: str) -> None:
    if as_json:
        terminal.print_json(list(rows))
    else:
        screen = terminal.screen()
        for row in rows:
            if not row["code"]:
                lost = f", {row['unreadable']} cannot be opened by any key: enter them again" if row["unreadable"] else ""
                screen.say(f"{screen.paint('✓', '32')} {row['service']}   {done}   {row['renewed']} secrets sealed again{lost}")
    if wrong := [row for row in rows if row["code"]]:
        fail(
            "; ".join(f"{row['service']}: {row['reason']} [{row['code']}]" for row in wrong),
            advice=advice, code="keys.not_renewed", exit_code=Exit.AWAY,
        )  # fmt: skip


def _named(names: Sequence[str] | None, known: Sequence[str]) -> list[str]:
    for name in names or ():
        if name not in known:
            fail(
                f"there is no service {name}", advice=f"one of {', '.join(known)}",
                code="keys.unknown_service", exit_code=Exit.ASKED_WRONGLY,
            )  # fmt: skip
    return list(dict.fromkeys(names or ()))


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
