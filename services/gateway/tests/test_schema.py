"""Requests made from the API's own document (Schemathesis): no answer is a defect of ours, and each is in its schema."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import gateway_journeys as journeys
import httpx
import pytest
from gateway_props import Gateway, answering

# What exists: half of the requests ask for it, so that there is something to answer. Generated ids are never ours.
KNOWN: dict[str, Any] = {
    "service": "shop", "run": "run_1", "number": 1, "build": "bld_1", "decision": "dec_2", "release": "rel_1", "endpoint": "ep_1",
    "environment": "development",
}  # fmt: skip
STREAMS = {"/api/v1/events", "/api/v1/runs/{run}/events"}
"""These never end; test_api follows them."""
EXAMPLES = 6
"""Requests per operation and kind: fitting its schema, and not."""


def neighbours() -> dict[str, dict[str, Any]]:
    """What webhook and deployer would answer, by the beginning of the question's subject."""
    branch = {"name": "main", "commit": journeys.COMMIT}
    row = {
        "delivery": "dlv_1", "endpoint": "ep_1", "received_at": "2026-11-21T08:00:00Z", "verdict": "accepted", "code": "",
        "reason": "", "run_number": 1,
    }  # fmt: skip
    preview = {"release": "rel_1", "release_number": 1, "from_number": 2, "image_exists": True, "lines": ["- image shop:2"]}
    return {
        "webhook": {
            "kiops.webhook.source.test": {"branches": [branch], "tags": [], "default_branch": "main"},
            "kiops.webhook.source.resolve": {"commit": journeys.COMMIT, "branch": "main"},
            "kiops.webhook.endpoint.secret": {"endpoint": "ep_1", "label": "Local", "path": "/x", "secret": "-".join("abc")},
            "kiops.webhook.deliveries.list": {"rows": [row]},
        },
        "deployer": {"kiops.deployer.rollback.preview": preview | {"target_reachable": True}},
    }


@pytest.fixture
async def lively(gateway: Gateway) -> AsyncIterator[Gateway]:
    """A gateway that has seen runs, and whose neighbours answer."""
    story = journeys.registered()
    journeys.good_push(story, 1, 1)
    journeys.blocked_push(story, 2, 60)
    journeys.good_push(story, 3, 2, 120)
    shop = {"name": "shop", "repository_url": "https://git.example.org/shop.git"}
    made = (await gateway.client.post("/api/v1/services", json=shop)).json()
    told = [message for message, _ in story.told if message.name != "service.registered"]
    await gateway.tell(
        *(each.model_copy(update={"service": made["service"]}) if each.service == journeys.SERVICE else each for each in told)
    )
    said = neighbours()
    async with (
        answering(gateway, "webhook", {to: lambda _, what=what: what for to, what in said["webhook"].items()}),
        answering(gateway, "deployer", {to: lambda _, what=what: what for to, what in said["deployer"].items()}),
    ):
        yield gateway


def requests_of(operation: Any) -> list[Any]:
    """Requests of one operation, the same ones in every run of the tests."""
    from hypothesis import HealthCheck, Phase, given, settings
    from schemathesis import GenerationMode

    cases: list[Any] = []
    for mode in GenerationMode:
        steady = settings(
            max_examples=EXAMPLES, database=None, deadline=None, derandomize=True, phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip

        @given(case=operation.as_strategy(generation_mode=mode))
        def gather(case: Any) -> None:
            cases.append(case)

        try:
            steady(gather)()
        except BaseException as problem:
            # An operation without anything to get wrong has no wrong requests.
            if type(problem).__name__ not in ("Unsatisfiable", "SkipTest", "Skipped"):
                raise
    return cases


def place(operation: Any) -> tuple[int, str]:
    """What takes something away comes last, and the end of the session after all."""
    path = operation.path
    return (path.endswith("/end"), path.endswith("/delete") or operation.method.upper() == "DELETE", operation.method), path


@pytest.mark.slow
@pytest.mark.one_database
@pytest.mark.one_database
async def test_no_answer_is_a_defect_or_outside_its_schema(lively: Gateway) -> None:
    import schemathesis
    from schemathesis.checks import CHECKS, load_all_checks

    load_all_checks()
    names = (
        "not_a_server_error", "status_code_conformance", "content_type_conformance", "response_headers_conformance",
        "response_schema_conformance",
    )  # fmt: skip
    checks = list(CHECKS.get_by_names(names))
    document = (await lively.client.get("/api/v1/openapi.json")).json()
    schema = schemathesis.openapi.from_dict(document)
    operations = sorted((found.ok() for found in schema.get_all_operations()), key=place)
    answered: dict[str, Counter[int]] = {}
    problems: list[str] = []
    for operation in operations:
        if operation.path in STREAMS:
            continue
        counts = answered.setdefault(f"{operation.method.upper()} {operation.path}", Counter())
        for number, case in enumerate(await asyncio.to_thread(requests_of, operation)):
            if number % 2:
                for given in (case.path_parameters, case.query):
                    if isinstance(given, dict):
                        given.update({name: value for name, value in KNOWN.items() if name in given})
                        given.pop("cursor", None)
            asked = case.as_transport_kwargs(base_url="http://kiops.test")
            asked.pop("cookies", None)
            sent = {name: value for name, value in (asked.pop("headers", None) or {}).items() if name.lower() != "authorization"}
            asked["headers"] = sent | {"authorization": lively.client.headers["authorization"]}
            try:
                answer = await lively.client.request(**asked)
            except (httpx.InvalidURL, UnicodeEncodeError, ValueError):
                continue  # nobody could send this
            counts[answer.status_code] += 1
            try:
                # What every service has to answer cannot be had from the gateway alone: it says so, and that is in the schema too.
                alone = answer.status_code == 503 and answer.json()["code"] == "stream.silent"
                case.validate_response(
                    answer, checks=[each for each in checks if not alone or each.__name__ != "not_a_server_error"]
                )
            except BaseException as problem:
                problems.append(f"{answer.status_code} {problem}"[:1500])
    assert not problems, f"{len(problems)}\n" + "\n\n".join(problems[:10])
    succeeded = [name for name, counts in answered.items() if any(status < 300 for status in counts)]
    assert len(succeeded) > len(answered) * 2 // 3, f"too few were answered with what they are for: {answered}"
