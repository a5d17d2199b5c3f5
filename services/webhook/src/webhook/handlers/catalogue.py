"""Services as they come and go, their endpoints and their rules."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace

from shared.clock import Clock
from shared.database import Tx
from shared.facts.webhook import EndpointChanged, RuleChanged
from shared.words import EndpointState

from shared import ids
from webhook import store
from webhook.domain.rules import Rule, wrong_pattern
from webhook.errors import RunRefused
from webhook.handlers.runs import Runs
from webhook.known import Known
from webhook.sealed import Secrets

SECRET_BYTES = 32


@dataclass(frozen=True)
class ServiceEntry:
    """What the catalogue says of a service."""

    id: str
    organisation: str
    name: str
    repository_url: str
    branch: str
    credential: str | None
    dockerfile: str
    context: str
    sample: bool


class Catalogue:
    """Registered services."""

    def __init__(self, clock: Clock, keys: Secrets, runs: Runs, known: Known) -> None:
        self._clock, self._keys, self._runs, self._known = clock, keys, runs, known

    async def keep_service(self, tx: Tx, entry: ServiceEntry) -> None:
        """A service was registered or changed. A new one gets its endpoint and the rule "the service's branch"; a rule
        that names just this branch follows when it changes."""
        self._known.forget(tx)
        known = await store.service(tx, entry.organisation, entry.id)
        await store.put_service(
            tx,
            entry.organisation,
            entry.id,
            {
                "name": entry.name,
                "repository_url": entry.repository_url,
                "branch": entry.branch,
                "credential": entry.credential,
                "dockerfile": entry.dockerfile,
                "context": entry.context,
                "sample": entry.sample,
            },
        )
        if known is None:
            await self._make_endpoint(tx, entry, "Default", "generic")
            await self._keep_rule(tx, entry, Rule(branches=(entry.branch,)))
        elif known.branch != entry.branch and known.rule.branches == (known.branch,):
            await self._keep_rule(tx, entry, replace(known.rule, branches=(entry.branch,)))

    async def _make_endpoint(self, tx: Tx, entry: ServiceEntry, label: str, provider: str) -> None:
        endpoint = ids.new("ep")
        sealed, key = self._keys.seal(secrets.token_hex(SECRET_BYTES))
        await store.put_endpoint(
            tx,
            {
                "id": endpoint,
                "organisation_id": entry.organisation,
                "service_id": entry.id,
                "label": label,
                "provider": provider,
                "sealed_secret": sealed,
                "sealed_to": key,
                "state": EndpointState.READY.value,
                "created_at_ms": self._clock.now_ms(),
            },
        )
        await tx.put(
            EndpointChanged(
                organisation=entry.organisation,
                service=entry.id,
                endpoint=endpoint,
                label=label,
                provider=provider,
                path=store.endpoint_path(provider, endpoint),
                state=EndpointState.READY,
            )
        )

    async def _keep_rule(self, tx: Tx, entry: ServiceEntry | store.Service, rule: Rule) -> None:
        self._known.forget(tx)
        await store.put_rule(tx, entry.organisation, entry.id, rule)
        await tx.put(
            RuleChanged(
                organisation=entry.organisation,
                service=entry.id,
                branches=list(rule.branches),
                tags=list(rule.tags),
                environments=list(rule.environments),
                supersede=rule.supersede,
            )
        )

    async def delete_service(self, tx: Tx, organisation: str, service_id: str, by: str) -> None:
        """The service left the catalogue: its endpoints answer 404, its open runs are cancelled."""
        self._known.forget(tx)
        await self._runs.cancel_all(tx, organisation, service_id, by)
        await store.delete_service(tx, organisation, service_id, self._clock.now_ms())

    async def set_rule(self, tx: Tx, organisation: str, service_id: str, rule: Rule) -> None:
        """A person decided which pushes count. Raises RunRefused."""
        service = await store.service(tx, organisation, service_id)
        if service is None:
            raise RunRefused("service.unknown", "there is no such service", "It may have been deleted.")
        for patterns in (list(rule.branches), list(rule.tags)):
            if wrong := wrong_pattern(patterns):
                raise RunRefused("rule.pattern_wrong", wrong, "Patterns are globs over whole names: main, release/*, v*.")
        environments = tuple(dict.fromkeys(rule.environments))
        await self._keep_rule(tx, service, replace(rule, environments=environments))
