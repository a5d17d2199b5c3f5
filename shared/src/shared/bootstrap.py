"""Streams and durables, declared in one place, by the one identity that may: at start and by `kiops migrate`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from shared.bus import EVENTS, HEARS, LOGS, REBUILD, Bus, heard_on, stored
from shared.errors import Broken
from shared.permissions import BOOTSTRAP

SECOND = 1_000_000_000  # the API's durations are nanoseconds


def streams(replicas: int = 1) -> dict[str, dict[str, Any]]:
    """The streams' settings, in the words of the JetStream API."""
    common = {
        "retention": "limits",
        "storage": "file",
        "num_replicas": replicas,
        "discard": "old",
        "deny_delete": True,
        "deny_purge": True,
        "allow_rollup_hdrs": False,
        "max_msgs_per_subject": -1,
        "max_consumers": -1,
        # A block of a stream that is full is compressed: facts say the same names again and again.
        "compression": "s2",
    }
    return {
        EVENTS: {
            **common,
            "name": EVENTS,
            "description": "Facts and orders, in one order, kept",
            # Enumerated from the contracts: a wildcard would store queries, and with them credentials.
            "subjects": sorted(cls.pattern() for cls in stored()),
            "duplicate_window": 3600 * SECOND,
            "allow_atomic": True,
        },
        LOGS: {
            **common,
            "name": LOGS,
            "description": "Output of builds, scans and deploys, one subject per job",
            "subjects": ["log.*.*.*"],
            "max_age": 30 * 24 * 3600 * SECOND,
            "max_bytes": 1024**3,
            "max_msg_size": 1024 * 1024,
            "duplicate_window": 60 * SECOND,
            "allow_direct": True,
            "deny_purge": False,
            "deny_delete": False,
        },
    }


def durables() -> dict[str, dict[str, Any]]:
    """One durable per service on EVENTS, filtered to little more than it hears; and one that reads all again for a rebuild."""
    reading = {
        service: {
            "durable_name": service,
            "name": service,
            "deliver_policy": "all",
            "ack_policy": "explicit",
            "ack_wait": 60 * SECOND,
            "max_deliver": -1,
            "max_ack_pending": 5000,
            "filter_subjects": heard_on(service),
        }
        for service in HEARS
    }
    again = {
        durable: {
            "durable_name": durable,
            "name": durable,
            "deliver_policy": "all",
            "ack_policy": "none",
            "filter_subjects": [],
        }
        for durable in REBUILD.values()
    }
    return reading | again


async def declare(bus: Bus, replicas: int = 1) -> None:
    """Make the streams and durables, or bring them to what the contracts say. Harmless to do again."""
    for name, settings in streams(replicas).items():
        try:
            there = await bus.api_call(f"STREAM.INFO.{name}")
        except Broken as error:
            if error.detail.get("err_code") != 10059:  # stream not found
                raise
            await bus.api_call(f"STREAM.CREATE.{name}", settings)
            continue
        config = there["config"]
        # A subject is never taken away: what an older release said is still in the stream.
        wanted = settings | {"subjects": sorted({*config.get("subjects", []), *settings["subjects"]})}
        if any(config.get(key) != value for key, value in wanted.items() if value not in (False, -1)):
            await bus.api_call(f"STREAM.UPDATE.{name}", {**config, **wanted})
    for name, settings in durables().items():
        try:
            there = await bus.api_call(f"CONSUMER.INFO.{EVENTS}.{name}")
            config = there["config"]
            filters = config.get("filter_subjects") or [each for each in (config.get("filter_subject"),) if each]
            same = sorted(filters) == settings["filter_subjects"]
            if same and config.get("max_ack_pending") == settings.get("max_ack_pending", config.get("max_ack_pending")):
                continue
        except Broken as error:
            if error.detail.get("err_code") != 10014:  # consumer not found
                raise
        await bus.api_call(f"CONSUMER.DURABLE.CREATE.{EVENTS}.{name}", {"stream_name": EVENTS, "config": settings, "action": ""})


async def bootstrap(url: str, keys: Path, *, api: str = "$JS.API") -> None:
    """Sign in as the bootstrap identity, declare everything, leave."""
    bus = Bus(BOOTSTRAP, url, keys / f"{BOOTSTRAP}.nk", api=api)
    await bus.open()
    try:
        await declare(bus)
    finally:
        await bus.close()
