"""The default policy on the stored inputs: known answers, and the same answers from a stock OPA."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from gate.clients.bundle import Bundle
from gate.clients.engine import PolicyEngine
from gate.clients.opa import OpaServer
from gate.clients.regorus import EmbeddedRegorus
from gate.domain.decision import AREAS

STATES = ("fresh", "stale", "missing", "running", "failed", "not_applicable")
KINDS = ("not_production", "production")
BUNDLE = Path(__file__).parents[1] / "src" / "gate" / "bundle"


def test_the_inputs_cover_the_whole_table(cases: list[dict[str, Any]], by_hand: dict[str, Any]) -> None:
    """At least 100 inputs, every area x state x kind among them, at least 30 answered by hand."""
    names = {case["name"] for case in cases}
    assert len(cases) >= 100
    assert {f"{a} {s} {k}" for a, s, k in product(AREAS, STATES, KINDS)} <= names
    assert len(by_hand) >= 30
    assert set(by_hand) <= names


async def test_answers_written_by_hand(
    cases: list[dict[str, Any]], by_hand: dict[str, Any], engine: PolicyEngine, bundle: Bundle
) -> None:
    """The policy says what the two tables of the default policy say."""
    inputs = {case["name"]: case["input"] for case in cases}
    for name, expected in by_hand.items():
        decision = await engine.evaluate(bundle, inputs[name])
        rows = {row.area: [row.evidence, row.verdict] for row in decision.areas}
        assert decision.problem == "", f"{name}: {decision.sentence}"
        assert decision.verdict == expected["verdict"], f"{name}: {decision.sentence}"
        for area, row in expected["areas"].items():
            assert rows[area] == row, name
        if "rules" in expected:
            assert [[r.rule, r.effect] for r in decision.reasons] == expected["rules"], name
        if "sentence" in expected:
            assert decision.sentence == expected["sentence"], name
        assert len(decision.ways) == expected.get("ways", len(decision.ways)), name
        assert decision.waits_for == expected.get("waits_for", []), name


async def test_every_input_has_a_whole_decision(cases: list[dict[str, Any]], engine: PolicyEngine, bundle: Bundle) -> None:
    """No input leaves an area out or the policy without an answer; whatever is not a pass says why and what would help."""
    for case in cases:
        decision = await engine.evaluate(bundle, case["input"])
        assert decision.problem == "", f"{case['name']}: {decision.sentence}"
        assert {row.area for row in decision.areas} == set(AREAS)
        assert (decision.verdict == "pass") == (decision.reasons == [])
        assert all(reason.text and reason.pass_by for reason in decision.reasons)
        assert bool(decision.ways) == (decision.verdict != "pass")


@pytest.mark.parametrize("removed", ["areas", "environment", "subject", "waited_seconds", "tested"])
async def test_an_input_with_a_hole_never_passes(
    cases: list[dict[str, Any]], engine: PolicyEngine, bundle: Bundle, removed: str
) -> None:
    """A document without one of its parts is judged strictly or denied, never let through more easily."""
    whole = next(case["input"] for case in cases if case["name"] == "license missing production")
    decision = await engine.evaluate(bundle, {k: v for k, v in whole.items() if k != removed})
    assert decision.verdict == "block"


async def test_a_finding_without_a_description_still_counts(
    cases: list[dict[str, Any]], engine: PolicyEngine, bundle: Bundle
) -> None:
    document = json.loads(json.dumps(next(c["input"] for c in cases if c["name"] == "everything clean not_production")))
    document["areas"]["secrets"]["findings"] = [{"id": "fnd-1"}]
    document["areas"]["sca"]["findings"] = [{"id": "fnd-2", "severity": "catastrophic", "fix": "2"}]
    decision = await engine.evaluate(bundle, document)
    assert {(r.rule, r.finding) for r in decision.reasons} == {
        ("secrets.none", "fnd-1"),
        ("sca.critical_with_fix", "fnd-2"),
    }


async def test_an_unknown_age_counts_as_too_old(cases: list[dict[str, Any]], engine: PolicyEngine, bundle: Bundle) -> None:
    document = json.loads(json.dumps(next(c["input"] for c in cases if c["name"] == "everything clean production")))
    document["areas"]["sca"] |= {"age_seconds": None, "data_age_seconds": None}
    decision = await engine.evaluate(bundle, document)
    assert [(r.rule, r.effect) for r in decision.reasons] == [("sca.age", "block")]


async def test_the_organisation_can_deny_licences_and_components(cases: list[dict[str, Any]], engine: PolicyEngine) -> None:
    """A denied licence blocks, unless one of the alternatives is not denied; a banned component blocks."""
    from gate.clients.bundle import default_bundle

    bundle = default_bundle(denied_licences=["GPL-3.0-only"], banned_components=["event-stream"])
    document = json.loads(json.dumps(next(c["input"] for c in cases if c["name"] == "everything clean not_production")))
    document["areas"]["license"]["findings"] = [
        {"id": "1", "severity": "low", "package": "readline", "licence": "GPL-3.0-only"},
        {"id": "2", "severity": "low", "package": "mixed", "licence": "MIT OR GPL-3.0-only"},
        {"id": "3", "severity": "low", "package": "both", "licence": "(MIT AND GPL-3.0-only)"},
    ]
    components = [{"name": "left-pad", "version": "1", "purl": "3"}, {"name": "Event-Stream", "version": "3.3.6", "purl": "4"}]
    document["areas"]["sbom"]["components"] = components
    decision = await engine.evaluate(bundle, document)
    assert [(r.rule, r.finding) for r in decision.reasons] == [
        ("license.denied", "1"),
        ("license.denied", "3"),
        ("sbom.banned", "4"),
    ]
    document["areas"]["sbom"]["components"] = None
    decision = await engine.evaluate(bundle, document)
    assert [(r.rule, r.effect) for r in decision.reasons][-1] == ("sbom.components", "warn")


async def test_the_policys_own_tests_pass_here(bundle: Bundle) -> None:
    """The Rego tests beside the policy, run by the embedded engine: every one is true."""
    text = (BUNDLE / "gate_test.rego").read_text()
    names = [line.split(" ")[0] for line in text.splitlines() if line.startswith("test_")]
    assert len(names) >= 10
    modules = {**bundle.modules, "gate_test.rego": text}
    raw = EmbeddedRegorus()
    try:
        for name in names:
            assert await raw.ask(Bundle(modules, bundle.data, f"data.kiops.gate_test.{name}"), {}) is True, name
    finally:
        await raw.close()


@pytest.mark.heavy
async def test_a_stock_opa_agrees(
    cases: list[dict[str, Any]], engine: PolicyEngine, bundle: Bundle, stock_opa: Path, tmp_path: Path
) -> None:
    """All stored inputs: `opa eval` says exactly what the embedded engine says, order included."""
    data = tmp_path / "data.json"
    data.write_text(json.dumps(bundle.data))
    folder = tmp_path / "bundle"
    folder.mkdir()
    for name, text in bundle.modules.items():
        (folder / name).write_text(text)
    for case in cases:
        document = tmp_path / "input.json"
        document.write_text(json.dumps(case["input"]))
        argv = [stock_opa, "eval", "--strict-builtin-errors", "--fail", "-f", "json", "-d", folder, "-d", data]
        told = await asyncio.to_thread(
            subprocess.run, [*argv, "-i", document, bundle.entry], capture_output=True, text=True, timeout=60
        )
        assert told.returncode == 0, told.stderr + told.stdout
        theirs = json.loads(told.stdout)["result"][0]["expressions"][0]["value"]
        ours = await engine.raw.ask(bundle, case["input"])
        assert ours == theirs, case["name"]


@pytest.mark.heavy
def test_the_policys_own_tests_pass_in_a_stock_opa(stock_opa: Path) -> None:
    """`opa check --strict` and `opa test` on the bundle folder itself."""
    for argv in (["check", "--strict"], ["test"]):
        told = subprocess.run([stock_opa, *argv, BUNDLE], capture_output=True, text=True, timeout=60, check=False)
        assert told.returncode == 0, told.stdout + told.stderr


@pytest.mark.heavy
async def test_an_opa_server_agrees(cases: list[dict[str, Any]], engine: PolicyEngine, bundle: Bundle, stock_opa: Path) -> None:
    """The REST client against a real server: same decisions, also after the server lost the bundle; away is a deny."""
    process = await asyncio.create_subprocess_exec(
        stock_opa, "run", "--server", "--addr", "127.0.0.1:0", "--skip-version-check", "--log-level", "error",
        stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        url = f"http://127.0.0.1:{await _listening_port(process.pid)}"
        server = PolicyEngine(OpaServer(url))
        await server.check()
        for case in cases:
            assert await server.evaluate(bundle, case["input"]) == await engine.evaluate(bundle, case["input"])
        import httpx

        async with httpx.AsyncClient(base_url=url) as client:
            for name in bundle.modules:
                await client.delete(f"/v1/policies/kiops/{name}")
            decision = await server.evaluate(bundle, cases[0]["input"])
            assert (decision.verdict, decision.problem) == ("block", "policy.undefined")
            await client.delete("/v1/data/kiops_gate_bundle")
        assert (await server.evaluate(bundle, cases[0]["input"])).problem == ""
    finally:
        process.kill()
        await process.wait()
    decision = await server.evaluate(bundle, cases[0]["input"])
    assert (decision.verdict, decision.problem) == ("block", "policy.away")
    await server.close()


async def _listening_port(pid: int) -> int:
    """The loopback port that a process listens on, read from /proc, so that port 0 can be asked for."""
    for _ in range(100):
        await asyncio.sleep(0.1)
        links = [os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir()]
        for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]:
            parts = line.split()
            if parts[3] == "0A" and f"socket:[{parts[9]}]" in links:
                return int(parts[1].split(":")[1], 16)
    raise AssertionError("OPA listens nowhere")
