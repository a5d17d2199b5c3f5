"""One trace from the request (or push) to the job at the other end; metrics per route and message."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import sys
from pathlib import Path

import httpx

from shared import tracing

spec = importlib.util.spec_from_file_location("chassis_toys", Path(__file__).with_name("toys.py"))
toys = importlib.util.module_from_spec(spec)
sys.modules.setdefault("chassis_toys", toys)
spec.loader.exec_module(toys)


async def test_a_push_and_the_build_it_leads_to_are_one_trace(platform, tmp_path) -> None:
    """The traceparent travels through outbox, stream and job: every span has the trace of the one who began."""
    spans = tmp_path / "spans.ndjson"
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    wires = {"webhook": toys.webhook, "builder": toys.builder_wire(tmp_path / "s")}
    try:
        async with platform(wires, trace_file=spans) as p:
            from shared.context import Context, current

            mark = current.set(Context(traceparent=f"00-{trace}-00f067aa0ba902b7-01"))
            async with p.services["webhook"].service.database.write() as tx:
                await tx.put(toys.push(1), correlation="run_1")
            current.reset(mark)

            async def done() -> bool:
                return len(await toys.effects(p.services["webhook"].service.database)) == 1

            await toys.until(done)
            await asyncio.sleep(0.1)
            async with httpx.AsyncClient(transport=httpx.ASGITransport(p.app), base_url="http://test") as client:
                for name in ("builder", "webhook"):
                    text = (await client.get(f"/-/{name}/metrics")).text
                    assert f'kiops_ready{{service="{name}"}} 1.0' in text
                assert 'kiops_messages_handled_total{message="build.succeeded",service="webhook"} 1.0' in text
                answer = await client.get("/-/webhook/metrics")
                assert 'route="/-/webhook/metrics"' in answer.text
    finally:
        assert not tracing.on()
    found = [json.loads(line) for line in spans.read_text().splitlines()]
    names = {span["name"] for span in found if span["context"]["trace_id"] == f"0x{trace}"}
    assert {"handle push.received", "work build", "handle build.succeeded"} <= names
