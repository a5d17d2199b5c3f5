"""Puts a release in place: start beside what serves, probe through the edge, switch, drain, remove the old.

Every attempt begins by looking at what is there, so that one which follows a crash goes on where the last one stopped: the route's
file says what serves, the labels of containers say whose they are. What is written to the database and what is switched is
fenced by the job's token; an order is fenced by the number the deployer gave it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from shared.database import Tx
from shared.errors import KiopsError, LeaseLost
from shared.facts.operator_proxy import ReleaseObserved
from shared.jobs import Job
from shared.words import Phase

from operator_proxy import store
from operator_proxy.clients.docker import Engine
from operator_proxy.clients.edge import LOGS, Edge
from operator_proxy.containers import ended, look_at, mask_lines
from operator_proxy.domain import naming
from operator_proxy.domain.health import Probe
from operator_proxy.domain.naming import Mark, Target
from operator_proxy.domain.placing import STEPS, Found, Seen, Wanted, drained_text, look
from operator_proxy.domain.routes import Route
from operator_proxy.errors import (
    ContainerUnhealthy,
    EdgeNotServing,
    EngineRefused,
    FenceOvertaken,
    ImageGone,
    PortsUsedUp,
    PortTaken,
)
from operator_proxy.handlers import APPLY, WATCH_JOB, Handlers
from operator_proxy.settings import OperatorProxySettings
from shared import logging, tracing

log = logging.get("operator-proxy")

LEAST_DRAIN_SECONDS = 0.3
"""Requests that the edge took just before the switch have reached the old container by then."""


@dataclass
class Attempt:
    """One attempt at one order: how long its stages took."""

    job: Job
    wanted: Wanted
    stages_ms: dict[str, int] = field(default_factory=dict)

    @asynccontextmanager
    async def stage(self, name: str) -> AsyncIterator[None]:
        began = time.monotonic()
        with tracing.span(name, {"kiops.release.id": self.wanted.release}):
            yield
        self.stages_ms[name] = round((time.monotonic() - began) * 1000)


class Placing:
    """What the jobs of a target do. `platform` is the id that all our containers bear."""

    def __init__(self, handlers: Handlers, engine: Engine, edge: Edge, settings: OperatorProxySettings, platform: str) -> None:
        self.handlers, self.engine, self.edge = handlers, engine, edge
        self.settings, self.platform = settings, platform

    # -- the job's three doors -----------------------------------------------------------------------------------------
    async def run(self, job: Job) -> None:
        if job.payload["action"] == APPLY:
            await self._apply(Attempt(job, Wanted(**job.payload["wanted"])))
        else:
            await self._remove(job, Target(**job.payload["target"]), job.payload["runtime"])

    async def failed(self, tx: Tx, job: Job, error: KiopsError) -> None:
        if job.payload["action"] == APPLY:
            await self.handlers.apply_failed(tx, Wanted(**job.payload["wanted"]), job.token, error)
        else:
            log.error("a target was not removed", target=job.key, code=error.code, error=error.message)

    # -- a release -----------------------------------------------------------------------------------------------------
    async def _apply(self, attempt: Attempt) -> None:
        wanted = attempt.wanted
        await self._refuse_when_overtaken(wanted)
        if await self.engine.image(wanted.image_id) is None:
            raise ImageGone(wanted.image_id)
        await self.edge.ensure()
        before = self.edge.route(wanted.target.key)
        if before and before.fence > wanted.fence:
            raise FenceOvertaken(wanted.fence, before.fence)
        containers = await look_at(self.engine, self.platform, wanted.target)
        found = look(wanted.release, wanted.fence, wanted.image_id, containers, before)
        for leftover in found.leftovers:
            await self.engine.remove(leftover.id)
        if found.switched:
            assert found.keep and before
            container, route = found.keep, before  # an attempt before this one was stopped after its switch
            await self.engine.keep_running(container.id)
            async with attempt.stage("switch"):
                await self._note_switch(attempt, container, route)
                await self.edge.wait_until_served(route, wanted.health_path)
            self.edge.withdraw(self.edge.candidate(route))
        else:
            container, route = await self._bring_up(attempt, found, before)
        open_at_end, seconds = await self._drain(attempt, found.before)
        text = f"{wanted.name} healthy, switched, {drained_text(open_at_end, seconds, bool(found.before))}"
        await self._finish(attempt, container, route, text)

    async def _bring_up(self, attempt: Attempt, found: Found, before: Route | None) -> tuple[Seen, Route]:
        """Start, probe and switch. When one of them fails, nothing of this release is left and the old one serves."""
        wanted = attempt.wanted
        container = found.keep
        route: Route | None = None
        try:
            await self._say(attempt, Phase.STARTING, f"Starting {wanted.name}" + (" beside what runs" if found.before else ""))
            async with attempt.stage("start"):
                port = await self._entry_port(wanted)
                container = container or await self._start(attempt)
            route = await self._route(wanted, container, port)
            await self._say(attempt, Phase.PROBING, f"Probing {wanted.health_path} through the edge", container=container.name)
            async with attempt.stage("probe"):
                await self._probe(wanted, container, route)
            await self.engine.keep_running(container.id)
            await self._switch(attempt, container, route, before)
        except LeaseLost:
            raise
        except KiopsError:
            await self._clear(wanted, container, route)
            raise
        return container, route

    async def _start(self, attempt: Attempt) -> Seen:
        wanted, job = attempt.wanted, attempt.job
        mark = Mark(
            self.platform,
            wanted.organisation,
            wanted.service,
            wanted.environment,
            wanted.release,
            wanted.number,
            wanted.fence,
            job.id,
            job.token,
        )
        configuration = self._configuration(wanted, mark)
        parts = (self.platform, wanted.service_name, wanted.environment, wanted.number)
        # The plain name may belong to the same release under an older fence, which serves until the switch.
        for name in (naming.container_name(*parts), naming.container_name(*parts, wanted.fence)):
            if identifier := await self.engine.create(name, configuration):
                break
        else:
            raise EngineRefused("make the container", f"another one is called {name}", 409)
        seen = Seen(identifier, name, mark, wanted.image_id, running=True)
        try:
            await self.engine.start(identifier, name)
        except KiopsError:
            with contextlib.suppress(KiopsError):
                await self.engine.remove(identifier)
            raise
        return seen

    def _configuration(self, wanted: Wanted, mark: Mark) -> dict[str, Any]:
        network = self.edge.network
        aliases = [naming.alias(mark.release, mark.fence, mark.token)]
        return {
            "Image": wanted.image_id,
            "Env": wanted.environment_variables,
            "Labels": mark.labels(),
            "ExposedPorts": {f"{wanted.container_port}/tcp": {}},
            "HostConfig": {
                "NetworkMode": network,
                # Until it is healthy an end is an answer; after the switch the engine starts it again.
                "RestartPolicy": {"Name": "no"},
                "Memory": self.settings.memory_mb * 1024 * 1024,
                "CpuPeriod": 100_000,
                "CpuQuota": int(self.settings.cpus * 100_000),
                "PidsLimit": self.settings.processes,
                "SecurityOpt": ["no-new-privileges"],
                "CapDrop": ["NET_RAW"],
                "LogConfig": LOGS,
            },
            "NetworkingConfig": {"EndpointsConfig": {network: {"Aliases": aliases}}},
        }

    async def _entry_port(self, wanted: Wanted) -> int:
        """The port of the edge that is the target's own; 0 when it wants none."""
        async with self.handlers.database.write() as tx:
            if not wanted.own_port:
                await store.take_port_back(tx, wanted.target)
                return 0
            now_ms = self.handlers.clock.now_ms()
            port = await store.give_port(tx, wanted.target, wanted.runtime, self.edge.ports, now_ms)
        if port is None:
            raise PortsUsedUp(self.settings.pool.start, self.settings.pool.stop - 1)
        if port not in self.edge.ports:
            raise PortTaken(port, "when the edge was started")
        return port

    async def _route(self, wanted: Wanted, container: Seen, port: int) -> Route:
        async with self.handlers.database.read() as tx:
            row = await store.target(tx, wanted.target)
        assert row is not None
        route = Route(
            key=wanted.target.key,
            organisation=wanted.organisation,
            service=wanted.service,
            environment=wanted.environment,
            release=wanted.release,
            number=wanted.number,
            fence=wanted.fence,
            container=container.id,
            alias=naming.alias(container.mark.release, container.mark.fence, container.mark.token),
            container_port=wanted.container_port,
            host=row.host,
            port=port,
            word="",
        )
        return self.edge.with_new_word(route)

    async def _probe(self, wanted: Wanted, container: Seen, route: Route) -> None:
        """Ask through the edge until the answers are good. Raises ContainerExited, ContainerUnhealthy, EdgeNotServing."""
        candidate = self.edge.candidate(route)
        self.edge.write(candidate)
        began, good, seen = time.monotonic(), 0, Probe(trouble="it was not asked")
        while good < self.settings.probe_successes:
            await self._raise_when_ended(wanted, container)
            seen = await self.edge.probe(candidate, wanted.health_path)
            good = good + 1 if seen.good(candidate.answered_by) else 0
            if good == 0 and time.monotonic() - began > wanted.deadline_seconds:
                lines = mask_lines(await self.engine.log_tail(container.id), wanted.variables)
                words = seen.words(wanted.container_port, wanted.health_path)
                if seen.not_routed:
                    raise EdgeNotServing(f"the probe did not reach container {container.name}: {words}", lines)
                raise ContainerUnhealthy(
                    container.name, wanted.deadline_seconds, words, wanted.container_port, wanted.health_path, lines
                )
            await asyncio.sleep(self.settings.probe_interval_ms / 1000)

    async def _raise_when_ended(self, wanted: Wanted, container: Seen) -> None:
        error = await ended(self.engine, container, self.settings.memory_mb, wanted.variables)
        if error:
            raise error

    async def _switch(self, attempt: Attempt, container: Seen, route: Route, before: Route | None) -> None:
        """Let the edge send people to the new container, and be sure that it does; else to the old one as before."""
        wanted = attempt.wanted
        async with attempt.stage("switch"):
            await self._refuse_when_overtaken(wanted)
            async with attempt.job.progress():
                pass  # only the attempt that holds the job may switch
            try:
                self.edge.write(route)
                await self.edge.wait_until_served(route, wanted.health_path)
            except BaseException:
                if not attempt.job.lost:
                    self._switch_back(route, before)
                raise
            await self._note_switch(attempt, container, route)
        self.edge.withdraw(self.edge.candidate(route))

    async def _note_switch(self, attempt: Attempt, container: Seen, route: Route) -> None:
        wanted, url = attempt.wanted, self.edge.url(route)
        async with attempt.job.progress() as tx:
            await store.now_serves(
                tx,
                wanted.target,
                self.handlers.clock.now_ms(),
                release=wanted.release,
                release_number=wanted.number,
                release_fence=wanted.fence,
                run=wanted.run,
                container=container.id,
                image_id=container.image_id,
                url=url,
            )
            text = f"{route.host} leads to {wanted.name}"
            await self._observed(tx, attempt, Phase.SWITCHED, text, container=container.name, url=url)

    def _switch_back(self, route: Route, before: Route | None) -> None:
        if before:
            self.edge.write(before)
        else:
            self.edge.withdraw(route)

    async def _drain(self, attempt: Attempt, before: Sequence[Seen]) -> tuple[int | None, float]:
        """Let the old containers finish what they answer, then stop and remove them. Returns what was open at the end (None:
        that cannot be seen) and how long it took."""
        began, open_requests = time.monotonic(), None
        async with attempt.stage("drain"):
            if before:
                names = " and ".join(seen.name for seen in before)
                await self._say(attempt, Phase.DRAINING, f"Waiting for what {names} still answers")
                open_requests = await self._wait_for_requests(before, attempt.wanted.drain_seconds)
                seconds = time.monotonic() - began
                for seen in before:
                    await self.engine.stop(seen.id, self.settings.stop_seconds)
                    await self.engine.remove(seen.id)
                return open_requests, seconds
        return None, 0.0

    async def _wait_for_requests(self, before: Sequence[Seen], drain_seconds: int) -> int | None:
        began, idle = time.monotonic(), 0
        while True:
            counts = [await self.edge.open_requests(seen.id) for seen in before]
            unknown = any(count is None for count in counts)
            open_requests = sum(count or 0 for count in counts)
            idle = idle + 1 if not unknown and not open_requests else 0
            seconds = time.monotonic() - began
            if seconds >= LEAST_DRAIN_SECONDS and idle >= 2:
                return 0
            if seconds >= drain_seconds:
                return None if unknown else open_requests
            await asyncio.sleep(0.05)

    async def _finish(self, attempt: Attempt, container: Seen, route: Route, text: str) -> None:
        wanted = attempt.wanted
        running = await self.engine.inspect(container.id)
        image_id = running["Image"] if running else container.image_id
        async with attempt.job.finish() as tx:
            await store.end_placement(tx, wanted.release, wanted.fence, store.PLACED, self.handlers.clock.now_ms())
            await self._observed(
                tx,
                attempt,
                Phase.HEALTHY,
                text,
                container=container.name,
                image_id=image_id,
                url=self.edge.url(route),
                stages_ms=attempt.stages_ms,
            )
            await tx.enqueue(
                WATCH_JOB,
                key=wanted.target.key,
                run=wanted.run,
                organisation=wanted.organisation,
                payload={"wanted": attempt.job.payload["wanted"], "container": container.id, "name": container.name},
                deadline_seconds=wanted.observe_seconds + 600,
            )

    # -- when it does not work ---------------------------------------------------------------------------------------
    async def _clear(self, wanted: Wanted, container: Seen | None, route: Route | None) -> None:
        """Leave nothing of a release that did not come into place. What the engine cannot remove now is swept later."""
        if route:
            self.edge.withdraw(self.edge.candidate(route))
        if container:
            with contextlib.suppress(KiopsError):
                await self.engine.remove(container.id)
        async with self.handlers.database.write() as tx:
            row = await store.target(tx, wanted.target)
            if row is not None and row.release is None:
                await store.take_port_back(tx, wanted.target)

    async def _refuse_when_overtaken(self, wanted: Wanted) -> None:
        async with self.handlers.database.read() as tx:
            row = await store.target(tx, wanted.target)
        if row is not None and row.fence > wanted.fence:
            raise FenceOvertaken(wanted.fence, row.fence)

    # -- telling -----------------------------------------------------------------------------------------------------
    async def _say(self, attempt: Attempt, phase: Phase, text: str, **fields: Any) -> None:
        async with attempt.job.progress() as tx:
            await self._observed(tx, attempt, phase, text, **fields)

    async def _observed(self, tx: Tx, attempt: Attempt, phase: Phase, text: str, **fields: Any) -> None:
        step = {Phase.STARTING: 1, Phase.PROBING: 2, Phase.SWITCHED: 3, Phase.DRAINING: 4, Phase.HEALTHY: 4}[phase]
        await self.handlers.observed(
            tx, attempt.wanted, phase, step=step, steps=len(STEPS), text=text, attempt=attempt.job.token, **fields
        )

    # -- taking away ---------------------------------------------------------------------------------------------------
    async def _remove(self, job: Job, target: Target, runtime: str) -> None:
        """Take away everything a target has: routes first, so that nobody is sent to what goes."""
        for route in self.edge.routes():
            if route.key == target.key:
                self.edge.withdraw(route)
        for seen in await look_at(self.engine, self.platform, target):
            await self.engine.stop(seen.id, self.settings.stop_seconds)
            await self.engine.remove(seen.id)
        async with job.finish() as tx:
            row = await store.target(tx, target)
            await store.take_port_back(tx, target)
            if row is None or row.release is None:
                return
            await store.now_serves(tx, target, self.handlers.clock.now_ms())
            await tx.put(
                ReleaseObserved(
                    organisation=target.organisation,
                    service=target.service,
                    runtime=runtime,
                    release=row.release,
                    run=row.run or "",
                    environment=target.environment,
                    phase=Phase.GONE,
                    text="removed",
                    attempt=job.token,
                )
            )
