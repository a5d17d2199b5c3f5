"""Who may say what on the bus: rights of every identity, made from the contract classes, as a nats-server configuration.

One account with subject permissions: it stops mistakes, not a service that was taken over (the server does not check reply
subjects); an account per identity does, and comes with production.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from shared import seeds
from shared.bus import EVENTS, LOG_READERS, LOG_WRITERS, LOGS, REBUILD, SERVICES, answered_on, queries, stored
from shared.facts._base import Fact, Order
from shared.queries.every import EVERY

BOOTSTRAP = "bootstrap"
KEEPER = "keeper"
"""Has nats-server read its configuration again and asks it who is connected; in the system account, away from the streams."""
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
            publish.append(query.pattern(service if query.tail == "asker" else "*"))
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


def keeper_rights() -> dict[str, list[str]]:
    """What replacing keys takes, and nothing else of the system account."""
    return {
        "publish": ["$SYS.REQ.SERVER.PING.CONNZ", "$SYS.REQ.SERVER.*.RELOAD"],
        "subscribe": [f"{inbox(KEEPER)}.>"],
    }


def make_keys(folder: Path) -> dict[str, list[str]]:
    """A seed file (mode 0600) per identity where it is missing. Returns identity -> public keys that are accepted, see `seeds`."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    names = (*identities(), KEEPER)
    for identity in names:
        seeds.make(folder, identity)
    return {identity: [key.public for key in seeds.accepted(folder, identity)] for identity in names}


def _list(items: list[str]) -> str:
    return "[" + ", ".join(f'"{item}"' for item in items) + "]"


FIRST_LINE = "# Who may sign in, made from the keys. What is between these two lines is written again when a key is replaced.\n"
LAST_LINE = "# So far who may sign in.\n"


def server_config(
    public_keys: Mapping[str, Sequence[str]], store: Path, port: int, *, sync_interval: str = "always", host: str = "127.0.0.1"
) -> str:
    """The configuration of one nats-server: JetStream in `store`, a user per accepted key with the rights of its identity."""
    return (
        f'server_name: kiops\nlisten: "{host}:{port}"\nmax_payload: 1MB\n'
        f'jetstream {{ store_dir: "{store}", sync_interval: {sync_interval}, max_mem: 64MB }}\n'
        f"system_account: SYS\n{FIRST_LINE}{_accounts(public_keys)}{LAST_LINE}"
    )


def with_keys(config: str, public_keys: Mapping[str, Sequence[str]]) -> str:
    """The same configuration with other keys. Raises ValueError when it was not made by `server_config` of this release."""
    between = re.compile(f"{re.escape(FIRST_LINE)}.*?{re.escape(LAST_LINE)}", re.DOTALL)
    changed, found = between.subn(lambda _: f"{FIRST_LINE}{_accounts(public_keys)}{LAST_LINE}", config)
    if found != 1:
        raise ValueError("there is no place for the keys in this configuration")
    return changed


def _accounts(public_keys: Mapping[str, Sequence[str]]) -> str:
    users = "".join(_users(public_keys[identity], right, identity) for identity, right in identities().items())
    keeper = _users(public_keys[KEEPER], keeper_rights(), KEEPER)
    ours = f"  KIOPS {{\n    jetstream: enabled\n    users: [\n{users}    ]\n  }}\n"
    return f"accounts {{\n  SYS {{ users: [\n{keeper}  ] }}\n{ours}}}\n"


def _users(keys: Sequence[str], right: Mapping[str, list[str]], identity: str) -> str:
    return "".join(
        f"    {{ nkey: {key}, permissions: {{\n"
        f"        publish: {{ allow: {_list(right['publish'])} }}\n"
        f"        subscribe: {{ allow: {_list(right['subscribe'])} }} }} }} # {identity}\n"
        for key in keys
    )
