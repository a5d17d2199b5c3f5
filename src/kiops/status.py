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
    """{"ready", "url", "services": {name: {"ready", "failing"}}, "rss_mb", "pss_mb", "edge": {...}, "engine": {...}}.

    rss_mb and pss_mb are of KIOPS itself, its helpers and nats-server, in 10^6 bytes; those of the edge and the Docker
    engine stand apart (None when they do not run, or may not be looked at).
    """
    from shared.memory import family, memory_mb

    state = folder.read_state(root) if folder.is_taken(root) else None
    state = state or _served_by_parts(root)
    url = state["url"] if state else None
    services = {name: _readiness(url, name) for name in catalogue.NAMES} if url else {}
    rss, pss = memory_mb({pid for owner in _owners(root, state) for pid in family(owner)})
    return {
        "ready": bool(services) and all(service["ready"] for service in services.values()),
        "url": url,
        "pid": state["pid"] if state else None,
        "services": services,
        "rss_mb": rss,
        "pss_mb": pss,
        "edge": _memory(_edge_pids(root)),
        "engine": _memory(_engine_pids()),
    }


def _served_by_parts(root: Path) -> dict[str, Any] | None:
    """`kiops serve` with the gateway in it leaves the same note as `kiops up`."""
    state = folder.read_state(root)
    return state if state and os.path.exists(f"/proc/{state['pid']}") else None


def _owners(root: Path, state: dict[str, Any] | None) -> set[int]:
    """Processes that run services of this folder, and the holder of the bus."""
    found = {int(state["pid"])} if state else set()
    for lock in root.glob("services/*/lock"):
        try:
            pid = int(lock.read_text())
        except (OSError, ValueError):
            continue
        if _is_ours(pid):
            found.add(pid)
    return found


def _is_ours(pid: int) -> bool:
    try:
        return b"kiops" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def _readiness(url: str, name: str) -> dict[str, Any]:
    """{"ready", "failing": {what: why}} of one service."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=5)
    try:
        connection.request("GET", f"/-/{name}/readyz")
        answer = connection.getresponse()
        body = json.loads(answer.read())
        return {"ready": answer.status == 200, "failing": body.get("failing", {})}
    except (OSError, ValueError, http.client.HTTPException) as problem:
        return {"ready": False, "failing": {"http": f"no answer at {url} ({type(problem).__name__})"}}
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
