"""Deliveries: verified, stored with the run they make, answered."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shared.clock import Clock
from shared.context import Context, current
from shared.database import Database, Tx
from shared.facts.webhook import DeliveryIgnored, EndpointChanged
from shared.words import EndpointState, Trigger

from shared import ids
from webhook import store
from webhook.errors import Refused, RunRefused, SignatureMissing, SignatureWrong, endpoint_unknown
from webhook.group import GroupCommit
from webhook.handlers.runs import Birth, Runs
from webhook.known import Known
from webhook.providers import PROVIDERS
from webhook.providers.push import Ignored, Provider, Push
from webhook.sealed import Secrets
from webhook.settings import WebhookSettings

KEPT_HEADERS = ("content-type", "user-agent", "x-kiops-event", "x-kiops-delivery")
MARK_AGAIN_MS = 3600_000
ACTIVE_DAYS = 30
DAY_MS = 86_400_000
LARGE_BYTES = 256 * 1024


@dataclass(frozen=True)
class Receipt:
    """What a sender is told: the delivery's id, the run it made (or made the first time), and why."""

    delivery: str
    code: str
    text: str
    run: str | None = None
    number: int | None = None
    repeated: bool = False


class Deliveries:
    """What comes in from Git hosts."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        keys: Secrets,
        runs: Runs,
        known: Known,
        group: GroupCommit,
        settings: WebhookSettings,
    ) -> None:
        self._database, self._clock, self._keys, self._known = database, clock, keys, known
        self._runs, self._group, self._settings = runs, group, settings

    async def endpoint(self, provider: str, endpoint_id: str) -> store.Endpoint:
        """The endpoint at this address. Raises Refused (404)."""
        # PostgreSQL takes no text with U+0000; no id has characters of that kind.
        if provider not in PROVIDERS or not endpoint_id.isascii() or not endpoint_id.isprintable():
            raise endpoint_unknown()
        found = await self._known.endpoint(endpoint_id)
        if found is None or found.provider != provider:
            raise endpoint_unknown()
        return found

    async def receive(self, endpoint: store.Endpoint, headers: Mapping[str, str], body: bytes, traceparent: str = "") -> Receipt:
        """Take one delivery. When this returns, it and the run it made are on disk. Raises Refused (recorded), Unavailable."""
        provider = PROVIDERS[endpoint.provider]
        delivery = ids.new("dlv")
        secret = self._keys.open(endpoint.sealed_secret)
        try:
            if len(body) > LARGE_BYTES:
                key, what = await asyncio.to_thread(_read, provider, headers, body, secret)
            else:
                key, what = _read(provider, headers, body, secret)
        except Refused as refused:
            await self._record_refused(endpoint, delivery, headers, body, refused)
            raise
        key = f"id:{key}" if key else self._content_key(body)

        async def work(tx: Tx) -> Receipt:
            # The group's writer may be another request: the message's causes are set for each.
            before = current.set(Context(causation=delivery, traceparent=traceparent))
            try:
                return await self._take(tx, endpoint, delivery, key, headers, body, what)
            finally:
                current.reset(before)

        return await self._group.do(work, endpoint.service.id)

    def _content_key(self, body: bytes) -> str:
        """A delivery without an id is told apart by its content and the minute."""
        return f"content:{hashlib.sha256(body).hexdigest()}:{self._clock.now_ms() // 60_000}"

    async def _take(
        self,
        tx: Tx,
        endpoint: store.Endpoint,
        delivery: str,
        key: str,
        headers: Mapping[str, str],
        body: bytes,
        what: Push | Ignored,
    ) -> Receipt:
        matched: str | None = None
        if isinstance(what, Push):
            matched = endpoint.service.rule.match(branch=what.branch, tag=what.tag)
            if matched is None:
                why = endpoint.service.rule.why_not(branch=what.branch, tag=what.tag)
                what = Ignored("delivery.no_rule", why, what.ref, what.commit)
        code, text = (what.code, what.reason) if isinstance(what, Ignored) else ("delivery.run", _cause(what))
        run = ids.new("run") if isinstance(what, Push) else None
        row = self._row(endpoint, delivery, headers, body, code=code, reason=text)
        row |= {"key": key, "verdict": "run" if run else "ignored", "run_id": run}
        row |= {"ref": what.ref, "commit_id": what.commit}
        await store.hold_service(tx, endpoint.service.id)
        if not await store.put_delivery(tx, row):
            return await self._repeat(tx, endpoint, key)
        await self._mark_active(tx, endpoint)
        if isinstance(what, Ignored) or run is None or matched is None:
            await tx.put(
                DeliveryIgnored(
                    organisation=endpoint.service.organisation,
                    service=endpoint.service.id,
                    delivery=delivery,
                    endpoint=endpoint.id,
                    code=code,
                    reason=text,
                )
            )
            return Receipt(delivery, code, text)
        try:
            born = await self._runs.bear(tx, endpoint.service, self._birth(endpoint, delivery, what, matched), run)
        except RunRefused as error:
            # The service was deleted while this delivery waited for its turn.
            raise endpoint_unknown() from error
        return Receipt(delivery, code, f"run #{born.number}: {text}", born.id, born.number)

    def _birth(self, endpoint: store.Endpoint, delivery: str, push: Push, matched: str) -> Birth:
        return Birth(
            trigger=Trigger.WEBHOOK,
            executor=push.pusher or push.author,
            cause=_cause(push),
            environments=endpoint.service.rule.environments,
            ref=push.ref,
            branch=push.branch,
            tag=push.tag,
            commit=push.commit,
            before=push.before,
            author=push.author,
            message=push.message,
            delivery=delivery,
            provider=endpoint.provider,
            changed_paths=push.changed_paths,
            changed_count=push.changed_count,
            rule=matched,
        )

    async def _repeat(self, tx: Tx, endpoint: store.Endpoint, key: str) -> Receipt:
        first = await store.delivery_by_key(tx, endpoint.id, key)
        assert first is not None, "the key was there a moment ago, and the ledger's rows stay"
        text = f"run #{first.number}: {first.reason}" if first.number else first.reason
        return Receipt(first.id, first.code, f"delivered before; {text}", first.run_id, first.number, repeated=True)

    def _row(
        self,
        endpoint: store.Endpoint,
        delivery: str,
        headers: Mapping[str, str],
        body: bytes | None,
        *,
        code: str,
        reason: str,
    ) -> dict[str, Any]:
        return {
            "id": delivery,
            "organisation_id": endpoint.service.organisation,
            "service_id": endpoint.service.id,
            "endpoint_id": endpoint.id,
            "key": None,
            "received_at_ms": self._clock.now_ms(),
            "code": code,
            "reason": reason[:2000],
            "ref": "",
            "commit_id": "",
            "run_id": None,
            "headers": {name: headers[name][:200] for name in KEPT_HEADERS if name in headers},
            "body": body,
            "body_bytes": len(body or b""),
        }

    async def _record_refused(
        self, endpoint: store.Endpoint, delivery: str, headers: Mapping[str, str], body: bytes, refused: Refused
    ) -> None:
        """A delivery with the right signature is kept whole; of one without it only that it came."""
        refused.detail["delivery"] = delivery
        signed = not isinstance(refused, SignatureMissing | SignatureWrong)
        row = self._row(endpoint, delivery, headers, body if signed else None, code=refused.code, reason=refused.message)
        row |= {"verdict": "refused" if signed else "unsigned", "body_bytes": len(body)}

        async def work(tx: Tx) -> None:
            await store.put_delivery(tx, row)
            if not signed:
                await store.forget_unsigned(tx, endpoint.id, self._settings.keep_refused)

        await self._group.do(work, endpoint.service.id)

    async def _mark_active(self, tx: Tx, endpoint: store.Endpoint) -> None:
        now = self._clock.now_ms()
        active = EndpointState.ACTIVE.value
        if endpoint.state == active and now - endpoint.last_accepted_at_ms < MARK_AGAIN_MS:
            return
        self._known.forget(tx)
        await store.mark_endpoint(tx, endpoint.id, state=active, now_ms=now)
        if endpoint.state != active:
            await self._announce(tx, endpoint, EndpointState.ACTIVE)

    async def _announce(self, tx: Tx, endpoint: store.Endpoint, state: EndpointState) -> None:
        await tx.put(
            EndpointChanged(
                organisation=endpoint.service.organisation,
                service=endpoint.service.id,
                endpoint=endpoint.id,
                label=endpoint.label,
                provider=endpoint.provider,
                path=endpoint.path,
                state=state,
            )
        )

    async def forget(self) -> int:
        """Drop raw bodies past their time; call an endpoint without deliveries for 30 days Ready again."""
        now = self._clock.now_ms()
        async with self._database.write() as tx:
            dropped = await store.forget_bodies(tx, now - self._settings.keep_raw_days * DAY_MS)
            for endpoint_id in await store.quiet_endpoints(tx, now - ACTIVE_DAYS * DAY_MS):
                endpoint = await store.endpoint(tx, endpoint_id)
                if endpoint is not None:
                    self._known.forget(tx)
                    await store.mark_endpoint(tx, endpoint.id, state=EndpointState.READY.value, now_ms=endpoint.last_accepted_at_ms)
                    await self._announce(tx, endpoint, EndpointState.READY)
        return dropped

    async def ledger(self, organisation: str, service_id: str, limit: int) -> list[Any]:
        """The last deliveries of a service, newest first; at most 500."""
        async with self._database.read() as tx:
            return list(await store.ledger(tx, organisation, service_id, max(1, min(limit, 500))))


def _read(provider: Provider, headers: Mapping[str, str], body: bytes, secret: bytes) -> tuple[str, Push | Ignored]:
    """The sender's id and what it says. A body of megabytes is read in a thread, so that the others do not wait."""
    provider.verify(headers, body, secret)
    return provider.delivery_id(headers), provider.normalise(headers, body)


def _cause(push: Push) -> str:
    by = f" by {push.pusher or push.author}" if push.pusher or push.author else ""
    if push.tag:
        return f"push of tag {push.tag}{by}"
    count = f"{push.commits} commit{'' if push.commits == 1 else 's'}" if push.commits else push.commit[:7]
    return f"{'forced ' if push.forced else ''}push of {count} to {push.branch}{by}"
