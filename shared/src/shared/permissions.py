"""Who may say what on the bus: rights of every identity, made from the contract classes, as a nats-server configuration.

One account with subject permissions: it stops mistakes, not a service that was taken over (the server does not check reply
subjects); an account per identity does, and comes with production.
"""

from __future__ import annotations

import os
from pathlib import Path

from shared.bus import EVENTS, LOG_READERS, LOG_WRITERS, LOGS, REBUILD, SERVICES, answered_on, queries, stored
from shared.facts._base import Fact, Order
from shared.queries.every import EVERY

BOOTSTRAP = "bootstrap"
API = "$JS.API"


def inbox(identity: str) -> str:
    return f"_INBOX_{identity}"


def rights(service: str) -> dict[str, list[str]]:
    """What a service may publish and subscribe to: exactly what the contracts say."""
    publish: list[str] = []
    subscribe = [f"{inbox(service)}.>"]
    for cls in stored():
        if issubclass(cls, Fact) and cls.owner == service:
            publish.append(cls.pattern())
        if issubclass(cls, Order) and service in cls.senders:
            publish.append(cls.pattern())
    callers: set[str] = set()
    for query in queries():
        if service in query.askers:
            publish.append(query.pattern())
        if query.owner in (service, EVERY):
            subscribe.append(answered_on(query, service))
            if query.answer is not None:
                callers |= set(query.askers)
    publish += [f"{inbox(caller)}.>" for caller in sorted(callers)]
    publish += [
        f"{API}.STREAM.INFO.{EVENTS}",
        f"{API}.CONSUMER.INFO.{EVENTS}.{service}",
        f"{API}.CONSUMER.MSG.NEXT.{EVENTS}.{service}",
        f"{API}.CONSUMER.RESET.{EVENTS}.{service}",
        f"$JS.ACK.{EVENTS}.{service}.>",
    ]
    if again := REBUILD.get(service):
        publish += [f"{API}.CONSUMER.{verb}.{EVENTS}.{again}" for verb in ("INFO", "MSG.NEXT", "RESET")]
    if service in LOG_WRITERS:
        publish.append(f"log.{service}.*.*")
    if service in LOG_READERS:
        publish.append(f"{API}.DIRECT.GET.{LOGS}")
        subscribe.append("log.>")
    return {"publish": publish, "subscribe": subscribe}


def bootstrap_rights() -> dict[str, list[str]]:
    """What the identity may that makes streams and durables, and nothing else."""
    verbs = (
        "INFO",
        "STREAM.CREATE.*",
        "STREAM.UPDATE.*",
        "STREAM.INFO.*",
        "STREAM.NAMES",
        "CONSUMER.CREATE.*.>",
        "CONSUMER.DURABLE.CREATE.*.*",
        "CONSUMER.INFO.*.*",
    )
    return {"publish": [f"{API}.{verb}" for verb in verbs], "subscribe": [f"{inbox(BOOTSTRAP)}.>"]}


def identities() -> dict[str, dict[str, list[str]]]:
    return {BOOTSTRAP: bootstrap_rights()} | {service: rights(service) for service in SERVICES}


def make_keys(folder: Path) -> dict[str, str]:
    """A seed file (mode 0600) per identity where it is missing. Returns identity -> public key."""
    import nkeys

    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    public = {}
    for identity in identities():
        path = folder / f"{identity}.nk"
        if not path.exists():
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "wb") as file:
                file.write(nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER) + b"\n")
        pair = nkeys.from_seed(bytearray(path.read_bytes().strip()))
        public[identity] = pair.public_key.decode()
        pair.wipe()
    return public


def _list(items: list[str]) -> str:
    return "[" + ", ".join(f'"{item}"' for item in items) + "]"


def server_config(
    public_keys: dict[str, str], store: Path, port: int, *, sync_interval: str = "always", host: str = "127.0.0.1"
) -> str:
    """The configuration of one nats-server: JetStream in `store`, one user per identity with its rights."""
    users = "".join(
        f"    {{ nkey: {public_keys[identity]}, permissions: {{\n"
        f"        publish: {{ allow: {_list(right['publish'])} }}\n"
        f"        subscribe: {{ allow: {_list(right['subscribe'])} }} }} }} # {identity}\n"
        for identity, right in identities().items()
    )
    return (
        f'server_name: kiops\nlisten: "{host}:{port}"\nmax_payload: 1MB\n'
        f'jetstream {{ store_dir: "{store}", sync_interval: {sync_interval}, max_mem: 64MB }}\n'
        "system_account: SYS\n"
        f"accounts {{\n  SYS {{}}\n  KIOPS {{\n    jetstream: enabled\n    users: [\n{users}    ]\n  }}\n}}\n"
    )
