"""Door: clock. What is swept away when it is old, and whether the bus still answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from shared.clock import Clock
from shared.database import Database
from shared.errors import KiopsError

from gateway.handlers.upkeep import Upkeep
from gateway.live import Live
from gateway.settings import GatewaySettings
from gateway.store import intents, people
from shared import logging

_HOUR = 3600


async def sweep(database: Database, settings: GatewaySettings, clock: Clock) -> None:
    """Every hour: ended sessions and links, old idempotency keys."""
    while True:
        try:
            now = clock.now_ms()
            async with database.write() as tx:
                await people.purge(tx, now)
                await intents.purge(tx, now - settings.idempotency_hours * _HOUR * 1000)
        except KiopsError as error:
            logging.get("gateway").warning("the sweep waits", error=str(error))
        await asyncio.sleep(_HOUR)


async def watch_stream(live: Live, connected: Callable[[], bool], every_seconds: float = 1.0) -> None:
    """Tell open pages when the connection to the bus is lost and when it is back."""
    while True:
        live.set_up(connected())
        await asyncio.sleep(every_seconds)


async def watch_standing(upkeep: Upkeep, organisation: str, every_seconds: float = 10.0) -> None:
    """Ask the services how they stand with their messages; pages tell what is amiss."""
    while True:
        await upkeep.look(organisation)
        await asyncio.sleep(every_seconds)
