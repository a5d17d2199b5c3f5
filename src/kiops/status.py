"""What runs on this machine: readiness of every service, and the memory of all our processes."""

from __future__ import annotations

import http.client
import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from kiops import catalogue, folder
from kiops.setup import engine


def look(root: Path) -> dict[str, Any]:
    """{"ready", "url", "services": {name: {"ready", "failing", "remarks"}}, "rss_mb", "pss_mb", "edge": {...}, "engine": {...}}.

    rss_mb and pss_mb are of KIOPS itself, its helpers and nats-server, in 10^6 bytes; those of the edge and the Docker
    engine stand apart (None when they do not run, or may not be looked at).
    """
    from shared.memory import family, memory_mb

    running = folder.served(root, catalogue.NAMES)
    services = {name: _readiness(running.get(name), name) for name in catalogue.NAMES} if running else {}
    gateway = running.get("gateway")
    owners = {int(state["pid"]) for state in running.values()}
    rss, pss = memory_mb({pid for owner in owners for pid in family(owner)})
    return {
        "ready": bool(services) and all(service["ready"] and not service["remarks"] for service in services.values()),
        "url": gateway["url"] if gateway else None,
        "pids": sorted(owners),
        "services": services,
        "rss_mb": rss,
        "pss_mb": pss,
        "edge": _memory(_edge_pids(root)),
        "engine": _memory(_engine_pids()),
    }


def _readiness(state: dict[str, Any] | None, name: str) -> dict[str, Any]:
    """{"ready", "failing": {what: why}, "remarks": {what: what is amiss though it is ready}} of one service."""
    if state is None:
        return {"ready": False, "failing": {"process": "does not run"}, "remarks": {}}
    url = state["url"]
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=5)
    try:
        connection.request("GET", f"/-/{name}/readyz")
        answer = connection.getresponse()
        body = json.loads(answer.read())
        return {"ready": answer.status == 200, "failing": body.get("failing", {}), "remarks": body.get("remarks", {})}
    except (OSError, ValueError, http.client.HTTPException) as problem:
        return {"ready": False, "failing": {"http": f"no answer at {url} ({type(problem).__name__})"}, "remarks": {}}
    finally:
        connection.close()


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
