"""Watches a release after its switch, for as long as its order says; then it is settled, or it is not healthy."""

from __future__ import annotations

import asyncio

from shared.database import Tx
from shared.errors import KiopsError, Rejected
from shared.jobs import Job
from shared.words import Phase

from operator_proxy import store
from operator_proxy.clients.docker import Engine
from operator_proxy.clients.edge import Edge
from operator_proxy.containers import mask_lines
from operator_proxy.domain.health import Look, Probe, Watch
from operator_proxy.domain.placing import Wanted
from operator_proxy.domain.routes import Route
from operator_proxy.handlers import Handlers
from operator_proxy.settings import OperatorProxySettings

_ADVICE = "It still serves. Look at its log, mend the cause and push again, or roll back to the release before it."


class Watching:
    """What the jobs of kind `watch` do."""

    def __init__(self, handlers: Handlers, engine: Engine, edge: Edge, settings: OperatorProxySettings) -> None:
        self.handlers, self.engine, self.edge, self.settings = handlers, engine, edge, settings

    async def run(self, job: Job) -> None:
        wanted, container = Wanted(**job.payload["wanted"]), job.payload["container"]
        clock = self.handlers.clock
        # A watch that is taken up after a crash goes on; it does not begin again.
        began = clock.monotonic() - clock.age_ms(job.created_at_ms) / 1000
        route = self.edge.route(wanted.target.key)
        watch = Watch(
            expected=route.answered_by if route else "",
            port=wanted.container_port,
            path=wanted.health_path,
            failures_allowed=self.settings.observe_failures,
        )
        while True:
            if not await self._still_serves(wanted):
                await self._settle(job, wanted, clock.monotonic() - began, "healthy until it was replaced or removed")
                return
            code, seen = watch.judge(await self._look(container, wanted, route))
            seconds = clock.monotonic() - began
            if code and await self._still_serves(wanted):
                await self._unhealthy(job, wanted, container, seconds, code, seen)
                return
            if seconds >= wanted.observe_seconds and not watch.failures and not code:
                await self._settle(job, wanted, seconds, f"healthy for {wanted.observe_seconds} s")
                return
            rest = max(0.05, wanted.observe_seconds - seconds)
            await asyncio.sleep(min(self.settings.observe_interval_seconds, rest))

    async def _still_serves(self, wanted: Wanted) -> bool:
        async with self.handlers.database.read() as tx:
            row = await store.target(tx, wanted.target)
        return row is not None and (row.release, row.release_fence) == (wanted.release, wanted.fence)

    async def _look(self, container: str, wanted: Wanted, route: Route | None) -> Look:
        found = await self.engine.inspect(container)
        if found is None or route is None:
            gone = Probe(trouble="the edge has no route to it")
            return Look(exists=found is not None, running=found is not None, restarts=0, probe=gone)
        running = found["State"]["Running"] and not found["State"].get("Restarting", False)
        return Look(
            exists=True,
            running=running,
            restarts=found.get("RestartCount", 0),
            probe=await self.edge.probe(route, wanted.health_path),
        )

    async def _settle(self, job: Job, wanted: Wanted, seconds: float, text: str) -> None:
        async with job.finish() as tx:
            fields = {"text": text, "seconds": round(seconds), "container": job.payload["name"], "attempt": job.token}
            await self.handlers.observed(tx, wanted, Phase.SETTLED, **fields)

    async def _unhealthy(self, job: Job, wanted: Wanted, container: str, seconds: float, code: str, seen: str) -> None:
        lines = mask_lines(await self.engine.log_tail(container), wanted.variables)
        tail = f" Its last lines: {' | '.join(lines)}" if lines else ""
        error = Rejected(code, f"{wanted.name} was healthy, and {round(seconds)} s after the switch {seen}", _ADVICE + tail)
        async with job.finish() as tx:
            await self._tell_unhealthy(tx, job, wanted, error, seconds)

    async def failed(self, tx: Tx, job: Job, error: KiopsError) -> None:
        wanted = Wanted(**job.payload["wanted"])
        seconds = self.handlers.clock.age_ms(job.created_at_ms) / 1000
        await self._tell_unhealthy(tx, job, wanted, error, seconds)

    async def _tell_unhealthy(self, tx: Tx, job: Job, wanted: Wanted, error: KiopsError, seconds: float) -> None:
        fields = {"seconds": round(seconds), "container": job.payload["name"], "attempt": job.token}
        await self.handlers.observed(tx, wanted, Phase.UNHEALTHY, error=error, **fields)
