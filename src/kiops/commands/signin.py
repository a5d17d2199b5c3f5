"""Signing in: a program elsewhere, and links for browsers."""

from __future__ import annotations

import json
import os
import sys
from typing import Annotated

import typer

from kiops import terminal
from kiops.client import Client, remembered_logins
from kiops.commands.options import Json
from kiops.terminal import Exit, fail


def login(
    address: Annotated[str, typer.Argument(help="Where KIOPS is: https://kiops.example.org")],
    token_stdin: Annotated[bool, typer.Option("--token-stdin", help="Read the token from standard input.")] = False,
) -> None:
    """Sign this machine's command line in to a KIOPS elsewhere, with an API token."""
    if not address.startswith(("http://", "https://")):
        address = f"https://{address}"
    if token_stdin or not sys.stdin.isatty():
        token = sys.stdin.readline().strip()
    else:
        import getpass

        token = getpass.getpass("Token: ").strip()
    if not token:
        fail("no token was given", advice="echo TOKEN | kiops login ADDRESS --token-stdin", code="login.no_token",
             exit_code=Exit.ASKED_WRONGLY)  # fmt: skip
    me = Client(address.rstrip("/"), token).get("/api/v1/me")
    file = remembered_logins()
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = file.with_suffix(".new")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
        json.dump({"url": address.rstrip("/"), "token": token}, out)
    os.replace(draft, file)
    screen = terminal.screen()
    screen.say(f"{screen.paint('✓', '32')} signed in at {address} as {me['name']} ({me['role']})")


def login_link(as_json: Json = False) -> None:
    """A sign-in link for a browser: one use, 15 minutes."""
    client = Client()
    made = client.post("/api/v1/login-links")
    if as_json:
        terminal.print_json(made)
    else:
        # A command in a container reaches the gateway at another address than people do.
        print((os.environ.get("GATEWAY_BASE_URL") or client.url).rstrip("/") + made["path"])


def register(app: typer.Typer) -> None:
    """Adds these commands."""
    app.command()(login)
    app.command(name="login-link")(login_link)
