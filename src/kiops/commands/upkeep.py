"""Messages that could not be handled, and a stream that is not the known one."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

import typer

from kiops import terminal
from kiops.client import Client, Problem
from kiops.commands.options import Json, Limit
from kiops.terminal import Exit

letters = typer.Typer(
    help="Messages that a service could not handle: list, show, replay, dismiss.", no_args_is_help=True, rich_markup_mode=None
)
stream = typer.Typer(help="The stream of facts and orders.", no_args_is_help=True, rich_markup_mode=None)
Id = Annotated[str, typer.Argument(help="Id of the message, or its beginning.")]


@letters.command("list")
def list_letters(as_json: Json = False, limit: Limit = 50) -> None:
    """Oldest first."""
    found = Client().get("/api/v1/dead-letters", limit=min(limit, 200))
    if as_json:
        terminal.print_json(found)
        return
    rows = (
        (r["holder"], r["type"], r["id"], r["code"], r["error"][:70], terminal.when(r["given_up_at_ms"])) for r in found["items"]
    )
    terminal.table(("service", "message", "id", "code", "why", "given up"), rows, nothing="Nothing is set aside.")
    if found["silent"]:
        print(f"{', '.join(found['silent'])} did not answer; what they have is not shown.")


@letters.command()
def show(letter: Id, as_json: Json = False) -> None:
    """One with its headers and body."""
    client = Client()
    found = client.get(_address(_one(client, letter)))
    if as_json:
        terminal.print_json(found)
        return
    print(f"{found['type']} could not be handled by {found['holder']}: {found['error']} [{found['code']}]")
    print(f"{found['attempts']} tries, given up {terminal.when(found['given_up_at_ms'])}; subject {found['subject']}\n")
    for name, value in sorted(found["headers"].items()):
        print(f"{name}: {value}")
    print(f"\n{found['body']}")


@letters.command()
def replay(letter: Id, as_json: Json = False) -> None:
    """Have its service try it again now."""
    _settle(letter, "replay", "is tried again", as_json)


@letters.command()
def dismiss(letter: Id, as_json: Json = False) -> None:
    """Let it be: it is not tried again, and no longer shown."""
    _settle(letter, "dismiss", "is let be", as_json)


@stream.command()
def accept(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Take the bus's stream for what it is now, after the one that the databases know was lost for good."""
    if not yes and not typer.confirm("The old stream cannot be restored any more after this. Go on?"):
        raise typer.Exit(Exit.NO)
    found = Client().post("/api/v1/stream/accept")
    if as_json:
        terminal.print_json(found)
        return
    rows = ((r["service"], r["reason"] or f"reads it; {r['again']} messages are published again") for r in found["items"])
    terminal.table(("service", "what it did"), rows, nothing="")


def _one(client: Client, letter: str) -> dict[str, Any]:
    items = client.get("/api/v1/dead-letters", limit=200)["items"]
    fitting = [each for each in items if each["id"] == letter] or [each for each in items if each["id"].startswith(letter)]
    if len(fitting) != 1:
        what = f"no message set aside has the id {letter}" if not fitting else f"{len(fitting)} ids begin with {letter}"
        raise Problem(what, advice="kiops dead-letters list", code="dead-letter.not_found", exit_code=Exit.NO)
    return fitting[0]


def _address(row: dict[str, Any]) -> str:
    return f"/api/v1/dead-letters/{row['holder']}/{quote(row['id'], safe='')}"


def _settle(letter: str, verb: str, told: str, as_json: bool) -> None:
    client = Client()
    found = _one(client, letter)
    client.post(f"{_address(found)}/{verb}")
    if as_json:
        terminal.print_json({"id": found["id"], "holder": found["holder"], "done": verb})
    else:
        print(f"{found['type']} of {found['holder']} {told}")


def register(root: typer.Typer) -> None:
    """Adds these commands."""
    root.add_typer(letters, name="dead-letters")
    root.add_typer(stream, name="stream")
