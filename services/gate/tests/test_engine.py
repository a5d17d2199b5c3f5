"""The worker process: warm, idle, limited; and every bad answer is a deny."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from gate.clients.bundle import Bundle, default_bundle
from gate.clients.engine import PolicyEngine
from gate.clients.opa import OpaServer
from gate.clients.regorus import EmbeddedRegorus

DOCUMENT = {"subject": {"service_name": "shop", "commit": "abcdef0123"}, "environment": {"name": "dev"}}


def policy(body: str) -> Bundle:
    return Bundle({"p.rego": f"package kiops.gate\n\nimport rego.v1\n\n{body}\n"}, {"gate_config": {}})


ENDLESS = "decision := count([1 | some a in numbers.range(1, 9000); some b in numbers.range(1, 9000); a == b])"
GREEDY = "decision := [numbers.range(1, 1000) | some _ in numbers.range(1, 1000000)]"


@pytest.mark.parametrize(
    ("bundle", "code"),
    [
        (policy("decision := input.nothing.of.it"), "policy.undefined"),
        (policy("other := 1"), "policy.error"),
        (policy("decision := missing_variable"), "policy.error"),
        (policy("decision := {"), "policy.error"),
        (policy("decision := 1 / 0"), "policy.error"),
        (policy("decision := true"), "policy.wrong_shape"),
        (policy('decision := {"verdict": "pass"}'), "policy.wrong_shape"),
        (policy(GREEDY), "policy.crashed"),
    ],
)
async def test_a_bad_policy_is_a_deny_with_its_reason(bundle: Bundle, code: str) -> None:
    engine = PolicyEngine(EmbeddedRegorus(memory_bytes=128 * 1024 * 1024, cpu_seconds=30, wall_seconds=60))
    decision = await engine.evaluate(bundle, DOCUMENT)
    await engine.close()
    assert (decision.verdict, decision.problem, decision.reasons[0].rule) == ("block", code, code)
    assert decision.sentence.startswith("shop at abcdef0 may not go to dev: ")
    assert decision.ways == [decision.reasons[0].pass_by] != [""]
    assert ("used up its memory" in decision.sentence) == (code == "policy.crashed")


async def test_a_policy_that_does_not_end_is_ended_by_the_wall_clock() -> None:
    engine = PolicyEngine(EmbeddedRegorus(wall_seconds=0.5, cpu_seconds=30))
    begun = time.monotonic()
    decision = await engine.evaluate(policy(ENDLESS), DOCUMENT)
    assert decision.problem == "policy.timeout"
    assert time.monotonic() - begun < 3, "the wall clock ended it, not the processor time"
    assert engine.raw.pid is None  # type: ignore[attr-defined]
    await engine.close()


@pytest.mark.slow
async def test_a_policy_that_computes_too_long_is_ended_by_the_kernel() -> None:
    engine = PolicyEngine(EmbeddedRegorus(wall_seconds=30, cpu_seconds=0))
    decision = await engine.evaluate(policy(ENDLESS), DOCUMENT)
    await engine.close()
    assert (decision.problem, "processor time" in decision.sentence) == ("policy.crashed", True)


@pytest.mark.slow
async def test_the_worker_stays_warm_and_leaves_when_idle(cases: list[dict[str, Any]]) -> None:
    raw = EmbeddedRegorus(idle_seconds=1, wall_seconds=120)
    engine, bundle = PolicyEngine(raw), default_bundle()
    assert raw.pid is None
    await engine.evaluate(bundle, cases[0]["input"])
    first = raw.pid
    await engine.evaluate(bundle, cases[1]["input"])
    assert raw.pid == first
    async with asyncio.timeout(30):
        while raw.pid is not None or Path(f"/proc/{first}").exists():
            await asyncio.sleep(0.02)
    assert (await engine.evaluate(bundle, cases[0]["input"])).problem == ""
    await engine.close()


async def test_a_killed_worker_is_a_deny_and_the_next_question_gets_a_new_one(cases: list[dict[str, Any]]) -> None:
    raw = EmbeddedRegorus(wall_seconds=120)
    engine, bundle = PolicyEngine(raw), default_bundle()
    await engine.evaluate(bundle, cases[0]["input"])
    asking = asyncio.ensure_future(engine.evaluate(policy(ENDLESS), DOCUMENT))
    await asyncio.sleep(0.2)
    assert raw.pid
    os.kill(raw.pid, signal.SIGKILL)
    assert (await asking).problem == "policy.crashed"
    assert (await engine.evaluate(bundle, cases[0]["input"])).problem == ""
    await engine.close()


async def test_a_cancelled_question_does_not_answer_the_next_one(cases: list[dict[str, Any]], bundle: Bundle) -> None:
    engine = PolicyEngine(EmbeddedRegorus(wall_seconds=120))
    asking = asyncio.ensure_future(engine.evaluate(policy(ENDLESS), DOCUMENT))
    await asyncio.sleep(0.2)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    clean = next(case["input"] for case in cases if case["name"] == "everything clean production")
    assert (await engine.evaluate(bundle, clean)).verdict == "pass"
    await engine.close()


async def test_questions_at_once_wait_for_each_other(cases: list[dict[str, Any]], bundle: Bundle) -> None:
    engine = PolicyEngine(EmbeddedRegorus(wall_seconds=120))
    alone = [await engine.evaluate(bundle, case["input"]) for case in cases[:20]]
    together = await asyncio.gather(*(engine.evaluate(bundle, case["input"]) for case in cases[:20]))
    await engine.close()
    assert together == alone


async def test_the_worker_sees_no_environment(cases: list[dict[str, Any]], bundle: Bundle) -> None:
    raw = EmbeddedRegorus(wall_seconds=120)
    await PolicyEngine(raw).evaluate(bundle, cases[0]["input"])
    assert Path(f"/proc/{raw.pid}/environ").read_bytes() == b""
    assert "Max address space" in (limits := Path(f"/proc/{raw.pid}/limits").read_text())
    assert str(raw.memory_bytes) in limits
    await raw.close()


def test_the_worker_dies_with_its_parent(tmp_path: Path) -> None:
    """kill -9 of the parent while the worker computes leaves no worker behind."""
    program = tmp_path / "parent.py"
    program.write_text(
        "import asyncio\nfrom gate.clients.regorus import EmbeddedRegorus\nfrom gate.clients.bundle import Bundle\n"
        f"bundle = Bundle({{'p.rego': '''package kiops.gate\\nimport rego.v1\\n{ENDLESS}'''}}, {{}})\n"
        "async def main():\n"
        "    raw = EmbeddedRegorus(wall_seconds=60, cpu_seconds=60)\n"
        "    asking = asyncio.ensure_future(raw.ask(bundle, {}))\n"
        "    while raw.pid is None: await asyncio.sleep(0.05)\n"
        "    await asyncio.sleep(0.3)\n"
        "    print(raw.pid, flush=True)\n"
        "    await asking\n"
        "asyncio.run(main())\n"
    )
    parent = subprocess.Popen([sys.executable, str(program)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout
    worker = int(parent.stdout.readline())
    assert Path(f"/proc/{worker}").exists()
    parent.kill()
    parent.wait()
    for _ in range(50):
        if not Path(f"/proc/{worker}").exists() or "\nState:\tZ" in Path(f"/proc/{worker}/status").read_text():
            return
        time.sleep(0.1)
    raise AssertionError("the worker outlived its parent")


@pytest.mark.slow
def test_regorus_is_imported_by_the_worker_alone() -> None:
    text = "import sys, gate.wiring; print('regorus' in sys.modules, 'httpx' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    assert told.stdout.split() == ["False", "False"]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda d: d.pop("areas"), "areas"),
        (lambda d: d["areas"].pop(), "each of the eight areas"),
        (lambda d: d.update(verdict="fine"), "verdict"),
        (lambda d: d.update(verdict="pass"), "though an area says"),
        (lambda d: d.update(reasons=[]), "without a reason"),
        (lambda d: d.update(holds_seconds="long"), "holds_seconds"),
        (lambda d: d.update(surprise=1), "surprise"),
    ],
)
async def test_an_answer_in_another_shape_is_a_deny(
    cases: list[dict[str, Any]], bundle: Bundle, engine: PolicyEngine, change: Callable[[dict[str, Any]], Any], why: str
) -> None:
    blocked = next(case["input"] for case in cases if case["name"] == "secrets fresh production")
    answer = await engine.raw.ask(bundle, blocked)
    change(answer)
    bent = Bundle(policy("decision := data.answer").modules, {"gate_config": {}, "answer": answer})
    decision = await engine.evaluate(bent, DOCUMENT)
    assert (decision.verdict, decision.problem) == ("block", "policy.wrong_shape")
    assert why in decision.sentence


async def test_the_opa_client_takes_no_answer_for_a_yes(bundle: Bundle) -> None:
    """Whatever an OPA server may say instead of a result is a deny with the fitting code."""
    expected = {
        "policy.undefined": httpx.Response(200, json={"decision_id": "1"}),
        "policy.error": httpx.Response(500, json={"code": "internal_error"}),
        "policy.wrong_shape": httpx.Response(200, text="<html>"),
    }
    for code, reply in expected.items():

        def answer(request: httpx.Request, reply: httpx.Response = reply) -> httpx.Response:
            return reply if request.method == "POST" else httpx.Response(200, json={"result": bundle.hash})

        engine = PolicyEngine(OpaServer("http://opa.test", transport=httpx.MockTransport(answer)))
        decision = await engine.evaluate(bundle, DOCUMENT)
        await engine.close()
        assert (decision.verdict, decision.problem) == ("block", code)


async def test_an_opa_server_that_is_away_is_a_deny(bundle: Bundle) -> None:
    engine = PolicyEngine(OpaServer("http://127.0.0.1:9"))
    decision = await engine.evaluate(bundle, DOCUMENT)
    await engine.close()
    assert (decision.verdict, decision.problem) == ("block", "policy.away")
