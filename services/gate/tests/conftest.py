"""The gate's props."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from gate.clients.bundle import Bundle, default_bundle
from gate.clients.engine import PolicyEngine
from gate.clients.regorus import EmbeddedRegorus

HERE = Path(__file__).parent
CASES = HERE / "cases"


def load_cases() -> list[dict[str, Any]]:
    return [json.loads(line) for line in (CASES / "inputs.jsonl").read_text().splitlines()]


@pytest.fixture(scope="session")
def cases() -> list[dict[str, Any]]:
    """The stored inputs, each {"name", "input"}."""
    return load_cases()


@pytest.fixture(scope="session")
def by_hand() -> dict[str, Any]:
    """Case name -> the answer written by hand."""
    return json.loads((CASES / "by_hand.json").read_text())["answers"]


@pytest.fixture(scope="session")
def bundle() -> Bundle:
    return default_bundle()


@pytest.fixture
async def engine() -> AsyncIterator[PolicyEngine]:
    """The embedded engine, with a worker process of its own."""
    engine = PolicyEngine(EmbeddedRegorus(idle_seconds=5))
    yield engine
    await engine.close()


@pytest.fixture(scope="session")
def stock_opa() -> Path:
    """The opa program of upstream, built on the first use."""
    spec = importlib.util.spec_from_file_location("opa_part", HERE / "opa_part.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.opa()
