"""Vulnerability data on this machine: import a bundle, list what is there."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from kiops import folder, terminal
from kiops.commands.options import Json

app = typer.Typer(help="Vulnerability data: import, list.", no_args_is_help=True, rich_markup_mode=None)


@app.command("import")
def import_data(
    bundle: Annotated[Path, typer.Argument(exists=True, help="A file as Trivy's database is distributed, or a folder.")],
    as_json: Json = False,
) -> None:
    """Check a bundle of Trivy's database and make it the one in use, for a machine without a way to it."""
    from scanner.data import import_bundle

    made = import_bundle(bundle, folder.root())
    if as_json:
        terminal.print_json(asdict(made))
        return
    screen = terminal.screen()
    screen.say(f"{screen.paint('✓', '32')} data of {made.date}, {made.size_bytes / 1e6:.0f} MB, is used from the next scan on")


@app.command("list")
def list_data(as_json: Json = False) -> None:
    """What is there: its date, and which one is used."""
    from scanner.data import list_bundles

    found = list_bundles(folder.root())
    if as_json:
        terminal.print_json([asdict(each) for each in found])
        return
    rows = (
        (
            each.date,
            f"{each.size_bytes / 1e6:.1f} MB",
            "the sample service alone" if each.sample else "in use" if each.current else "kept",
        )
        for each in found
    )
    terminal.table(
        ("data of", "size", "use"), rows, nothing="No vulnerability data: nothing can be called clean. `kiops data import FILE`."
    )


def register(root: typer.Typer) -> None:
    """Adds these commands."""
    root.add_typer(app, name="data")
