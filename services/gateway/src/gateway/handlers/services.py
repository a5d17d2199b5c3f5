"""The service catalogue: register with environment and rule, change, delete, test the connection."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shared.bus import Bus
from shared.clock import Clock
from shared.database import Database, Tx
from shared.facts.gateway import ServiceChanged, ServiceDeleted, ServiceRegistered
from shared.queries.webhook import SourceTested, TestSource
from shared.sealing import key_id, seal

from gateway import audit
from gateway.access.door import Actor
from gateway.domain import names
from gateway.errors import BadInput, NameTaken, NotFound
from gateway.handlers.orders import Orders, Outcome
from gateway.handlers.rules import EnvironmentForm, RuleForm, environment_order, rule_order
from gateway.settings import GatewaySettings
from gateway.store import catalogue
from shared import ids

# Who may open a repository's credential.
RECIPIENTS = ("webhook", "builder", "scanner")


@dataclass(frozen=True, slots=True)
class Credential:
    """What a person typed to read a repository. Lives in memory only until it is sealed; never printed."""

    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)

    def plain(self) -> str:
        """What is sealed: a JSON object with username and password."""
        return json.dumps({"username": self.username, "password": self.password})


@dataclass(frozen=True, slots=True)
class ServiceForm:
    """A service as a person describes it."""

    name: str
    repository_url: str
    branch: str = "main"
    description: str = ""
    dockerfile: str = "./Dockerfile"
    context: str = "."
    sample: bool = False


@dataclass(frozen=True, slots=True)
class Registered:
    """A service that is in the catalogue; `orders` are those of its environment and rule; `seen`: the read model shows it."""

    service: str
    name: str
    orders: list[Outcome]
    seen: bool


class Services:
    """Everything here is written to the owned database; the other services learn it from facts."""

    def __init__(
        self,
        database: Database,
        bus: Bus,
        orders: Orders,
        public_key: Callable[[str], str],
        settings: GatewaySettings,
        clock: Clock,
    ) -> None:
        self._database, self._bus, self._orders = database, bus, orders
        self._public_key, self._settings, self._clock = public_key, settings, clock

    @property
    def roots(self) -> list[Path]:
        return self._settings.allowed_repository_roots

    async def register(
        self,
        actor: Actor,
        form: ServiceForm,
        *,
        credential: Credential | None = None,
        environment: EnvironmentForm | None = None,
        rule: RuleForm | None = None,
    ) -> Registered:
        """Put a service into the catalogue, with its first environment and its rule, in one transaction.

        Without a rule: pushes to its branch count, and go to the environment if there is one. Raises BadInput, NameTaken.
        """
        values = self._values(form)
        service, now = ids.new("svc"), self._clock.now_ms()
        if rule is None:
            rule = RuleForm(branches=[values["branch"]], environments=[environment.name] if environment else [])
        asked = [rule_order(actor, service, rule)]
        if environment is not None:
            asked.insert(0, environment_order(actor, service, environment))
        sealed = self._seal(credential) if credential else {}
        credential_id = ids.new("crd") if credential else None
        async with self._database.write() as tx:
            row = {
                **values,
                "id": service,
                "organisation_id": actor.organisation,
                "sample": form.sample,
                "credential_id": credential_id,
                "created_by": actor.name,
                "created_at_ms": now,
                "changed_at_ms": now,
            }
            if not await catalogue.add(tx, row):
                raise NameTaken(values["name"])
            if credential_id:
                await catalogue.add_credential(tx, credential_id, actor.organisation, service, sealed, now)
            fact = await tx.put(ServiceRegistered(**self._fact(row), by=actor.name))
            await self._note(tx, actor, "registered", service, values["name"])
            for order in asked:
                await self._orders.put(tx, actor, order, category="service", action=order.name, object=values["name"])
        outcomes = await self._orders.answers([order.intent for order in asked])
        return Registered(service, values["name"], outcomes, await self._orders.shown(fact))

    async def change(
        self,
        actor: Actor,
        name: str,
        changes: Mapping[str, Any],
        *,
        credential: Credential | None = None,
        forget_credential: bool = False,
    ) -> bool:
        """Change fields of ServiceForm (not its name); True when the read model shows it. Raises NotFound, BadInput."""
        unknown = set(changes) - {"repository_url", "branch", "description", "dockerfile", "context"}
        if unknown:
            raise BadInput("field", f"{sorted(unknown)[0]} cannot be changed.", field=sorted(unknown)[0])
        sealed = self._seal(credential) if credential else {}
        async with self._database.write() as tx:
            row = dict((await self._row(tx, actor, name))._mapping)
            form = ServiceForm(
                **{key: row[key] for key in ("name", "repository_url", "branch", "description", "dockerfile", "context")}
                | dict(changes)
            )
            now = self._clock.now_ms()
            row |= self._values(form) | {"changed_at_ms": now}
            if forget_credential:
                await catalogue.remove_credential(tx, row["id"])
                row["credential_id"] = None
            if credential:
                row["credential_id"] = ids.new("crd")
                await catalogue.add_credential(tx, row["credential_id"], actor.organisation, row["id"], sealed, now)
            await catalogue.change(tx, row["id"], {key: row[key] for key in row if key != "id"})
            fact = await tx.put(ServiceChanged(**self._fact(row), by=actor.name))
            said = sorted(changes) + (["credential"] if credential or forget_credential else [])
            await self._note(tx, actor, "changed", row["id"], row["name"], ", ".join(said))
        return await self._orders.shown(fact)

    async def delete(self, actor: Actor, name: str, typed_name: str, *, remove_running: bool = False) -> bool:
        """Take a service out of the catalogue. `typed_name` must be its name. What runs stays unless `remove_running`."""
        async with self._database.write() as tx:
            row = await self._row(tx, actor, name)
            if typed_name != row.name:
                raise BadInput("typed_name", f"Type {row.name} to delete it.", field="typed_name")
            await catalogue.delete(tx, row.id)
            fact = await tx.put(
                ServiceDeleted(
                    organisation=actor.organisation,
                    service=row.id,
                    name_=row.name,
                    remove_running=remove_running,
                    by=actor.name,
                )
            )
            await self._note(tx, actor, "deleted", row.id, row.name, "with what runs" if remove_running else "")
        return await self._orders.shown(fact)

    async def test(
        self, actor: Actor, *, name: str = "", repository_url: str = "", credential: Credential | None = None
    ) -> SourceTested:
        """Can this repository be read? Of a service by its name, or of an address before it is registered.

        Raises BadInput, NotFound, the code of the failed test, or Unavailable when nobody answers.
        """
        service, stored = "_", None
        if name:
            async with self._database.read() as tx:
                row = await self._row(tx, actor, name)
            service, stored = row.id, row.credential_id
            repository_url = repository_url or row.repository_url
        address = names.repository_url(repository_url, self.roots)
        query = TestSource(
            organisation=actor.organisation,
            service=service,
            repository_url=address,
            credential=None if credential else stored,
            sealed=seal(credential.plain(), self._public_key("webhook")) if credential else None,
        )
        return await self._bus.ask(query, timeout_seconds=self._settings.query_seconds)

    async def get(self, actor: Actor, name: str) -> Any:
        """The catalogue's row of a service, by name or id. Raises NotFound."""
        async with self._database.read() as tx:
            return await self._row(tx, actor, name)

    def _values(self, form: ServiceForm) -> dict[str, Any]:
        return {
            "name": names.label(form.name),
            "repository_url": names.repository_url(form.repository_url, self.roots),
            "branch": names.ref(form.branch, field="branch") or "main",
            "description": names.text(form.description, field="description"),
            "dockerfile": names.path_inside(form.dockerfile, field="dockerfile", default="./Dockerfile"),
            "context": names.path_inside(form.context, field="context", default="."),
        }

    def _fact(self, row: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "organisation": row["organisation_id"],
            "service": row["id"],
            "name_": row["name"],
            "description": row["description"],
            "repository_url": row["repository_url"],
            "branch": row["branch"],
            "credential": row["credential_id"],
            "dockerfile": row["dockerfile"],
            "context": row["context"],
            "sample": row["sample"],
        }

    def _seal(self, credential: Credential) -> dict[str, tuple[str, str]]:
        """Recipient -> ciphertext and the id of the key that it is for."""
        for value in (credential.username, credential.password):
            names.text(value, field="password", longest=4096)
        keys = {who: self._public_key(who) for who in RECIPIENTS}
        return {who: (seal(credential.plain(), key), key_id(key)) for who, key in keys.items()}

    async def _row(self, tx: Tx, actor: Actor, name: str) -> Any:
        row = await catalogue.by_name(tx, actor.organisation, name)
        if row is None:
            raise NotFound("service", name[:80])
        return row

    async def _note(self, tx: Tx, actor: Actor, action: str, service: str, name: str, detail: str = "") -> None:
        await audit.note(
            tx,
            actor.organisation,
            self._clock.now_ms(),
            category="service",
            action=action,
            actor=actor.name,
            object=name,
            detail=detail,
            service=service,
        )
