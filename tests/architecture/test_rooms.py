"""Every service has the same rooms, so that knowing one is knowing seven."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import tomllib
from pathlib import Path

import pytest
import sqlalchemy as sa
from shared.tables import chassis_tables

from kiops import catalogue

ROOT = Path(__file__).resolve().parents[2]
ALWAYS = {
    "__init__",
    "__main__",
    "settings",
    "wiring",
    "subscribers",
    "handlers",
    "domain",
    "store",
    "tables",
    "errors",
    "migrations",
}
SOMETIMES = {"routes", "jobs", "clients"}
OWN = {
    "gateway": {
        "access", "api", "audit", "contexts", "labels", "live", "migrations_read_model", "pages", "projections", "rebuilding",
        "site", "static", "templates", "text", "journey", "logs",
    },
    "webhook": {"providers", "group", "sealed", "known"},
    "builder": {"log"},
    "scanner": {"scanners", "rules", "data", "engines", "identity"},
    "gate": {"bundle"},
    "deployer": set(),
    "operator-proxy": {"watch", "keeper", "placing", "containers", "cleanup"},
}  # fmt: skip
"""Rooms that only one service has, because only it has something to put there."""


def rooms(name: str) -> set[str]:
    folder = source(name)
    return {path.stem for path in folder.iterdir() if path.name != "__pycache__"}


def source(name: str) -> Path:
    return ROOT / "services" / name / "src" / catalogue.package(name)


@pytest.mark.parametrize("name", catalogue.NAMES)
def test_the_rooms_are_the_same(name: str) -> None:
    found = rooms(name)
    assert not ALWAYS - found, f"{name} lacks {sorted(ALWAYS - found)}"
    unknown = found - ALWAYS - SOMETIMES - OWN[name]
    assert not unknown, f"{name} has rooms nobody would look for: {sorted(unknown)}"


@pytest.mark.parametrize("name", catalogue.NAMES)
def test_each_says_what_it_is(name: str) -> None:
    """A README with what comes in and goes out, a first paragraph in __init__, and a manifest of its own."""
    readme = (ROOT / "services" / name / "README.md").read_text().lower()
    assert "decides" in readme or "owns" in readme
    for part in ("settings", "alone"):
        assert part in readme, f"services/{name}/README.md does not speak of {part}"
    assert ast.get_docstring(ast.parse((source(name) / "__init__.py").read_text()))
    manifest = tomllib.loads((ROOT / "services" / name / "pyproject.toml").read_text())
    assert manifest["project"]["name"] == f"kiops-{name}"
    others = {f"kiops-{other}" for other in catalogue.NAMES}
    assert not others & set(manifest["project"]["dependencies"])


def test_the_catalogue_lists_the_services_that_are_there() -> None:
    assert set(catalogue.NAMES) == {path.name for path in (ROOT / "services").iterdir() if path.is_dir()}


@pytest.mark.parametrize("name", catalogue.NAMES)
def test_every_table_has_the_organisation(name: str) -> None:
    """From the first migration: every table but the chassis' own carries organisation_id."""
    module = importlib.import_module(f"{catalogue.package(name)}.tables")
    parts = [
        importlib.import_module(f"{module.__name__}.{part.name}") for part in pkgutil.iter_modules(getattr(module, "__path__", ()))
    ]
    found = [value for part in (module, *parts) for value in vars(part).values() if isinstance(value, sa.MetaData)]
    metadatas = {id(value): value for value in found}
    chassis = sa.MetaData()
    chassis_tables(chassis)
    assert metadatas, f"{name}.tables has no metadata"
    for metadata in metadatas.values():
        for table in metadata.tables.values():
            if table.name in chassis.tables:
                continue
            assert "organisation_id" in table.columns or table.name in WITHOUT_ORGANISATION.get(name, set()), table.name


WITHOUT_ORGANISATION: dict[str, set[str]] = {"gateway": {"organisations"}}
"""An organisation's own row names itself by its key."""
