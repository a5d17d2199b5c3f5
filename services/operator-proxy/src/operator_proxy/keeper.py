"""Looks after the runtime while nothing is ordered: is the engine there, does the edge run, is anything left over?

It looks at once at the start, so that a platform which comes back finds its edge again, and removes what a killed process left.
"""

from __future__ import annotations

import asyncio
from typing import Any

from shared.errors import KiopsError, Unavailable

from operator_proxy import store
from operator_proxy.clients.docker import Engine
from operator_proxy.clients.edge import Edge
from operator_proxy.containers import look_at
from operator_proxy.domain.placing import stray_routes, strays
from operator_proxy.handlers import Handlers
from shared import logging

log = logging.get("operator-proxy")


class Keeper:
    """`state` is for people: {"engine": "", "edge": ""}, each empty when all is well, else a sentence."""

    def __init__(self, handlers: Handlers, engine: Engine, edge: Edge, platform: str, organisation: str) -> None:
        self.handlers, self.engine, self.edge = handlers, engine, edge
        self.platform, self.organisation = platform, organisation
        self.state: dict[str, Any] = {"engine": "not looked at yet", "edge": "not looked at yet", "answering": False}
        self._looked = False

    async def serve(self) -> None:
        self.edge.clear_unfinished()
        while True:
            try:
                await self.look()
            except Unavailable as error:
                log.warning("the runtime could not be looked after", code=error.code, error=error.message)
            except Exception:
                log.exception("looking after the runtime broke")
            self._looked = True
            # Soon again while something is missing: it is being started, as a rule.
            well = self.state["answering"] and not self.state["engine"]
            await asyncio.sleep(self.handlers.settings.look_seconds if well else min(2.0, self.handlers.settings.look_seconds))

    async def looked(self) -> None:
        """Raises Unavailable until it was looked once; what was seen does not matter."""
        if not self._looked:
            raise Unavailable("runtime.not_looked_at", "the runtime was not looked at yet")

    def remarks(self) -> dict[str, str]:
        """What is amiss with the engine and the edge, in sentences."""
        return {name: self.state[name] for name in ("engine", "edge") if self.state[name]}

    async def look(self) -> None:
        """One look: announce what changed, have the edge running, remove what nobody knows."""
        try:
            about = await self.engine.about()
        except KiopsError as error:
            self.state.update(engine=error.message, edge="the engine that runs it does not answer", answering=False)
            self.state["answering"] = await self.edge.answering()
            await self._seen(reachable=False, version="", abilities=[], reason=error.message)
            return
        self.state["engine"] = ""
        await self._seen(reachable=True, version=about.words, abilities=list(about.abilities), reason="")
        try:
            if await self.edge.ensure():
                log.info("the edge was started", port=self.handlers.settings.edge_port)
            answers, port = await self.edge.answering(), self.handlers.settings.edge_port
            self.state.update(edge="" if answers else f"the edge runs, but does not answer on port {port}", answering=answers)
        except KiopsError as error:
            if error.message != self.state["edge"]:
                log.warning("the edge does not run", code=error.code, error=error.message, advice=error.advice)
            self.state.update(edge=error.message, answering=False)
        await self.sweep()

    async def sweep(self) -> int:
        """Remove containers and routes of releases that are neither in place nor on their way. Returns how many."""
        # Containers first: whatever is listed was ordered before, so its placement is in the database that is read next.
        containers, routes = await look_at(self.engine, self.platform), self.edge.routes()
        async with self.handlers.database.read() as tx:
            known, on_their_way = await store.known_releases(tx)
        gone_routes = stray_routes(routes, known, on_their_way)
        gone = [seen for seen in strays(containers, known) if seen.mark.target.key not in on_their_way]
        for route in gone_routes:
            self.edge.withdraw(route)
        for seen in gone:
            await self.engine.remove(seen.id)
        if gone or gone_routes:
            log.warning("left-overs were removed", containers=[seen.name for seen in gone], routes=[r.file for r in gone_routes])
        return len(gone) + len(gone_routes)

    async def _seen(self, **seen: Any) -> None:
        async with self.handlers.database.write() as tx:
            await self.handlers.runtime_seen(tx, self.organisation, seen)
