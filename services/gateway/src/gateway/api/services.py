"""Services, their environments, rules, webhook endpoints and deliveries."""

from typing import Any

from fastapi import APIRouter

from gateway.api import models as m
from gateway.api.depends import Cursor, Limit, Who
from gateway.api.paging import decode, page
from gateway.errors import NotFound
from gateway.handlers.rules import EnvironmentForm, RuleForm
from gateway.handlers.services import Credential, ServiceForm
from gateway.site import Site
from gateway.store import services as store
from gateway.store.lists import Shown
from gateway.tables.read_model import services

_SHOWN = Shown(services, m.ServiceOut.model_fields)


def _credential(given: m.CredentialIn | None) -> Credential | None:
    return Credential(given.username, given.password) if given else None


def routes(site: Site, router: APIRouter) -> None:
    handlers = site.handlers

    @router.get("/services", tags=["services"], response_model=m.Page[m.ServiceOut])
    async def list_services(actor: Who, state: str = "", search: str = "", cursor: Cursor = "", limit: Limit = 50) -> Any:
        """By name."""
        key = decode(cursor, str)
        async with site.read.read() as tx:
            rows = await store.listed(
                tx, _SHOWN, actor.organisation, state=state, search=search, after=key[0] if key else "", limit=limit + 1
            )
        return page(_SHOWN, rows, limit, "name")

    @router.post("/services", tags=["services"], status_code=201, response_model=m.RegisteredOut)
    async def register(actor: Who, body: m.ServiceIn) -> Any:
        """Register a service, with its first environment and its rule."""
        form = ServiceForm(**body.model_dump(exclude={"credential", "environment", "rule"}))
        return await handlers.services.register(
            actor,
            form,
            credential=_credential(body.credential),
            environment=EnvironmentForm(**body.environment.model_dump()) if body.environment else None,
            rule=RuleForm(**body.rule.model_dump()) if body.rule else None,
        )

    @router.post("/sources/test", tags=["services"], response_model=m.SourceOut)
    async def test_source(actor: Who, body: m.SourceIn) -> Any:
        """Can this repository be read? Nothing is stored."""
        return await handlers.services.test(actor, repository_url=body.repository_url, credential=_credential(body.credential))

    @router.get("/services/{service}", tags=["services"], response_model=m.ServiceDetailOut)
    async def show(actor: Who, service: str) -> Any:
        """By name or id, with its environments and its rule."""
        async with site.read.read() as tx:
            row = await _service(tx, actor, service)
            places = await store.environments_of(tx, [row.id])
            rule = await store.rule(tx, row.id)
        return m.ServiceDetailOut.model_validate(
            dict(row._mapping)
            | {
                "environments": [m.EnvironmentOut.model_validate(each) for each in places],
                "rule": m.RuleOut.model_validate(rule) if rule else None,
            }
        )

    @router.patch("/services/{service}", tags=["services"], response_model=m.DoneOut)
    async def change(actor: Who, service: str, body: m.ServiceChangeIn) -> Any:
        """Change what is given."""
        changes = body.model_dump(exclude={"credential", "forget_credential"}, exclude_none=True)
        seen = await handlers.services.change(
            actor,
            service,
            changes,
            credential=_credential(body.credential),
            forget_credential=body.forget_credential,
        )
        return {"seen": seen}

    @router.post("/services/{service}/delete", tags=["services"], response_model=m.DoneOut)
    async def delete(actor: Who, service: str, body: m.ServiceDeleteIn) -> Any:
        """Take it out of the catalogue; its name is typed again. What runs stays unless `remove_running`."""
        seen = await handlers.services.delete(actor, service, body.name, remove_running=body.remove_running)
        return {"seen": seen}

    @router.post("/services/{service}/test", tags=["services"], response_model=m.SourceOut)
    async def test(actor: Who, service: str, body: m.TestIn | None = None) -> Any:
        """Can its repository be read, with the stored credential or with the one given?"""
        return await handlers.services.test(actor, name=service, credential=_credential(body.credential) if body else None)

    @router.put("/services/{service}/rule", tags=["services"], response_model=m.OutcomeOut, status_code=202)
    async def set_rule(actor: Who, service: str, body: m.RuleIn) -> Any:
        """Which pushes are worth a run, and the environments they go to."""
        return await handlers.rules.set(actor, service, RuleForm(**body.model_dump()))

    @router.get("/services/{service}/environments", tags=["services"], response_model=m.Page[m.EnvironmentOut])
    async def list_environments(actor: Who, service: str) -> Any:
        """All of a service's, with what serves there."""
        async with site.read.read() as tx:
            row = await _service(tx, actor, service)
            rows = await store.environments_of(tx, [row.id])
        return {"items": [m.EnvironmentOut.model_validate(each) for each in rows]}

    @router.post("/services/{service}/environments", tags=["services"], response_model=m.OutcomeOut, status_code=202)
    async def set_environment(actor: Who, service: str, body: m.EnvironmentIn) -> Any:
        """Make or change a deploy target."""
        return await handlers.environments.set(actor, service, EnvironmentForm(**body.model_dump()))

    @router.get("/services/{service}/endpoints", tags=["webhooks"], response_model=m.Page[m.EndpointOut])
    async def list_endpoints(actor: Who, service: str) -> Any:
        """The addresses that Git hosts call."""
        async with site.read.read() as tx:
            row = await _service(tx, actor, service)
            rows = await store.endpoints_of(tx, row.id)
        base = site.base_url
        return {"items": [m.EndpointOut.model_validate(dict(each._mapping) | {"url": base + each.path}) for each in rows]}

    @router.post("/endpoints/{endpoint}/secret", tags=["webhooks"], response_model=m.EndpointSecretOut)
    async def show_secret(actor: Who, endpoint: str) -> Any:
        """Its secret. A POST, because that it was shown is written to the audit."""
        return await handlers.endpoints.secret(actor, endpoint)

    @router.get("/services/{service}/deliveries", tags=["webhooks"], response_model=m.Page[m.DeliveryOut])
    async def list_deliveries(actor: Who, service: str, limit: Limit = 50) -> Any:
        """What came in, newest first, with what was made of it."""
        found = await handlers.endpoints.deliveries(actor, service, limit)
        return {"items": [m.DeliveryOut.model_validate(row) for row in found.rows]}

    async def _service(tx: Any, actor: Any, name: str) -> Any:
        row = await store.find(tx, actor.organisation, name)
        if row is None:
            raise NotFound("service", name[:80])
        return row
