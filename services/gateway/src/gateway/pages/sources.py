"""The Source tab: repository, connection, webhook, deliveries."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from fastapi import APIRouter
from shared.errors import KiopsError
from starlette.requests import Request
from starlette.responses import Response

from gateway import labels, text
from gateway.access import Actor
from gateway.contexts.catalogue import Connection
from gateway.contexts.service import Delivery, Endpoint, SecretPart, SourcePage
from gateway.errors import NotFound
from gateway.labels import State
from gateway.pages.catalogue import refused, tested
from gateway.pages.door import Pages
from gateway.store import pages_services as store

_VERDICTS = {
    "run": State("ok", "Made run"),
    "ignored": State("na", "Skipped"),
    "refused": State("bad", "Refused"),
    "unsigned": State("bad", "Refused"),
    "repeated": State("na", "The same delivery again"),
}


def endpoint(row: Any, service: str, base: str) -> Endpoint:
    return Endpoint(
        row.id,
        row.label or row.provider,
        f"{base}{row.path}",
        labels.of(labels.ENDPOINT, row.state),
        f"/services/{service}/endpoints/{row.id}/secret",
    )


def delivery(row: Any, service: str) -> Delivery:
    state = _VERDICTS.get(row.verdict) or (_VERDICTS["run"] if row.run_number else State("na", row.verdict or "Taken"))
    made = row.run_number is not None and row.verdict in ("run", "accepted")
    return Delivery(
        at_ms=int(datetime.fromisoformat(row.received_at).timestamp() * 1000) if row.received_at else 0,
        state=state.because("" if made else row.reason),
        run_number=row.run_number if made else None,
        run_href=f"/services/{service}/runs/{row.run_number}" if row.run_number else "",
        ref=text_ref(row.ref),
        commit="" if set(row.commit) <= {"0"} else row.commit,
        id=row.delivery,
        code=row.code,
        endpoint=row.endpoint,
    )


def text_ref(ref: str) -> str:
    """ "main" of refs/heads/main, "v1" of refs/tags/v1."""
    return ref.removeprefix("refs/heads/").removeprefix("refs/tags/")


def rule_words(rule: Any, branch: str) -> str:
    if rule is None:
        return f"a push to {branch}"
    parts = [f"a push to {text.listed(list(rule.branches))}"] if rule.branches else []
    if rule.tags:
        parts.append(f"a tag {text.listed(list(rule.tags))}")
    if not parts:
        return "nothing: the rule names no branch and no tag"
    to = f", for {text.listed(list(rule.environments))}" if rule.environments else ", deployed nowhere"
    return " or ".join(parts) + to


def routes(pages: Pages) -> APIRouter:
    router = pages.router()
    handlers = pages.site.handlers

    def base_url(request: Request) -> str:
        return (pages.site.settings.base_url or str(request.base_url)).rstrip("/")

    async def source_page(request: Request, actor: Actor, name: str, connection: Connection) -> Response:
        problem, rows = "", []
        try:
            rows = (await handlers.endpoints.deliveries(actor, name, 20)).rows
        except KiopsError as error:
            problem = f"{text.sentence(error.message)} {error.advice}".strip()
        async with pages.read() as tx:
            row, head = await pages.service(tx, actor, name)
            page = SourcePage(
                frame=await pages.frame(request, actor, tx, section="services", stream=row.id),
                service=head,
                repository_url=row.repository_url,
                repository_link=row.repository_url if row.repository_url.startswith(("https://", "http://")) else "",
                branch=row.branch,
                dockerfile=row.dockerfile or "./Dockerfile",
                context=row.context or ".",
                has_credential=row.has_credential,
                rule=rule_words(await store.rule_of(tx, row.id), row.branch),
                connection=connection,
                endpoints=tuple(endpoint(e, name, base_url(request)) for e in await store.endpoints_of(tx, row.id)),
                deliveries=tuple(delivery(each, name) for each in rows),
                deliveries_problem=problem,
            )
        return pages.show(request, "service/source.html", page)

    @router.get("/services/{name}/source")
    async def source(request: Request, name: str) -> Response:
        return await source_page(request, await pages.actor(request), name, Connection())

    @router.post("/services/{name}/source/test")
    async def test(request: Request, name: str) -> Response:
        actor, _ = await pages.form(request)
        try:
            connection = tested(await handlers.services.test(actor, name=name))
        except NotFound:
            raise
        except KiopsError as error:
            connection = refused(error)
        return await source_page(request, actor, name, connection)

    @router.post("/services/{name}/endpoints/{endpoint_id}/secret")
    async def secret(request: Request, name: str, endpoint_id: str) -> Response:
        actor, _ = await pages.form(request)
        problem, shown = "", ""
        async with pages.read() as tx:
            row, _ = await pages.service(tx, actor, name)
            found = next((e for e in await store.endpoints_of(tx, row.id) if e.id == endpoint_id), None)
            if found is None:
                raise NotFound("endpoint", endpoint_id[:80])
            frame = await pages.frame(request, actor, tx)
        try:
            shown = (await handlers.endpoints.secret(actor, endpoint_id)).secret
        except KiopsError as error:
            problem = f"{text.sentence(error.message)} {error.advice}".strip()
        part = SecretPart(frame, endpoint(found, name, base_url(request)), shown, problem)
        return pages.show(request, "service/secret.html", part)

    return router
