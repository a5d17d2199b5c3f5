"""What runs on this machine: readiness of every service, and the memory of all our processes."""

from __future__ import annotations

import http.client
import json
import os
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from kiops import catalogue, folder
from kiops.setup import engine


def look(root: Path) -> dict[str, Any]:
    """{"ready", "url", "services": {name: {"ready", "failing", "remarks", "stream_code", "instances"}}, "rss_mb", "pss_mb",
    "edge": {...}, "engine": {...}}.

    `instances` are what `shared.instances.known` tells: on PostgreSQL those of other machines too. A service is ready when one of
    its instances is; what fails in another one stands in `failing` with its address. `stream_code` says that the stream of facts is
    not the one that the service knows.
    rss_mb and pss_mb are of KIOPS itself, its helpers and nats-server, in 10^6 bytes; those of the edge and the Docker
    engine stand apart (None when they do not run, or may not be looked at).
    """
    from shared.memory import family, memory_mb

    running = folder.every_served(root, catalogue.NAMES)
    services = {name: _service(running.get(name, []), name) for name in catalogue.NAMES} if running else {}
    gateway = running.get("gateway")
    owners = {int(state["pid"]) for states in running.values() for state in states}
    rss, pss = memory_mb({pid for owner in owners for pid in family(owner)})
    return {
        "ready": bool(services) and all(service["ready"] and not service["remarks"] for service in services.values()),
        "url": gateway[0]["url"] if gateway else None,
        "pids": sorted(owners),
        "services": services,
        "rss_mb": rss,
        "pss_mb": pss,
        "edge": _memory(_edge_pids(root)),
        "engine": _memory(_engine_pids()),
    }


def strange_streams(root: Path) -> dict[str, str]:
    """Service -> why it holds that the stream of facts is not the known one; empty when all is well, or nothing runs."""
    services = {name: _service(states, name) for name, states in folder.every_served(root, catalogue.NAMES).items()}
    return {name: each["failing"].get("stream", each["stream_code"]) for name, each in services.items() if each["stream_code"]}


def _service(states: list[dict[str, Any]], name: str) -> dict[str, Any]:
    """What the instances of one service on this machine say, as one."""
    if not states:
        return _silent("process", "does not run")
    told = [_readiness(state["url"], name) for state in states]
    best = max(told, key=lambda each: each["ready"])
    found = best | {"failing": dict(best["failing"]), "stream_code": next((t["stream_code"] for t in told if t["stream_code"]), "")}
    for state, each in zip(states, told, strict=True):
        if each is not best:
            found["failing"] |= {f"{what} at {state['url']}": text for what, text in each["failing"].items()}
    return found


def _readiness(url: str, name: str) -> dict[str, Any]:
    """What one instance says: {"ready", "failing": {what: why}, "remarks": {what: what is amiss though it is ready}, ...}."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=5)
    try:
        connection.request("GET", f"/-/{name}/readyz")
        answer = connection.getresponse()
        body = json.loads(answer.read())
        parts = {"failing": {}, "remarks": {}, "stream_code": "", "instances": []}
        return {"ready": answer.status == 200, **{part: body.get(part, empty) for part, empty in parts.items()}}
    except (OSError, ValueError, http.client.HTTPException) as problem:
        return _silent("http", f"no answer at {url} ({type(problem).__name__})")
    finally:
        connection.close()


def _silent(what: str, why: str) -> dict[str, Any]:
    return {"ready": False, "failing": {what: why}, "remarks": {}, "stream_code": "", "instances": []}


def instance_rows(services: dict[str, Any]) -> list[tuple[str, ...]]:
    """(service, where, process, since, roles) of every instance, for services of which there is more than one."""
    rows = []
    for name, service in services.items():
        for one in service["instances"] if len(service["instances"]) > 1 else ():
            roles = ", ".join(f"{role} for {_long(held['held_seconds'])}" for role, held in sorted(one["roles"].items()))
            if one["silent_seconds"]:
                roles = f"says nothing for {_long(one['silent_seconds'])}" + (f"; {roles}" if roles else "")
            where = f"{one['node']}:{one['port']}" if one["node"] else "?"
            up = _long(max(0.0, time.time() - one["started_at_ms"] / 1000)) if one["started_at_ms"] else "?"
            rows.append((name, where, str(one["pid"] or "?"), up, roles or "stands by"))
    return rows


def _long(seconds: float | None) -> str:
    """A length of time in one unit: 42 s, 12 min, 5 h, 3 d."""
    if seconds is None:
        return "?"
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _memory(pids: list[int]) -> dict[str, float] | None:
    from shared.memory import memory_mb

    if not pids:
        return None
    rss, pss = memory_mb(pids)
    return {"rss_mb": rss, "pss_mb": pss} if rss else None


def _edge_pids(root: Path) -> list[int]:
    try:
        platform = (root / "platform.id").read_text().strip()
    except OSError:
        return []
    labels = quote(json.dumps({"label": [f"kiops.platform={platform}", "kiops.role=edge"]}))
    pids = []
    for container in engine.ask(f"/containers/json?filters={labels}") or []:
        found = engine.ask(f"/containers/{container['Id']}/json")
        if found and found["State"]["Pid"]:
            pids.append(found["State"]["Pid"])
    return pids


def _engine_pids() -> list[int]:
    from shared.memory import family

    try:
        pid = int(Path(engine.PID_FILE).read_text())
    except (OSError, ValueError):
        return []
    return family(pid) if os.path.exists(f"/proc/{pid}") else []
