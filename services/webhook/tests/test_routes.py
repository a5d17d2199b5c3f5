"""The door for Git hosts: what is answered, what is kept. Bad input of every kind has its test."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from shared.errors import Unavailable
from shared.facts.webhook import DeliveryIgnored, EndpointChanged, PushReceived, RunFinished, RunSuperseded
from shared.orders.webhook import SetRule
from shared.words import EndpointState, RunState
from webhook import tables

from .conftest import FIRST, SECOND, THIRD, ZERO, Props, Wired, payload, sign


async def test_a_signed_push_is_stored_with_its_run_and_answered_202(props: Props) -> None:
    answer = await props.deliver(x_kiops_delivery="d-1")
    assert answer.status_code == 202
    told = answer.json()
    assert told["run"]["number"] == 1
    assert told["reason"]["code"] == "delivery.run"
    assert told["repeated"] is False
    (delivery,) = await props.rows(tables.deliveries)
    (run,) = await props.rows(tables.runs)
    assert (delivery["id"], delivery["run_id"]) == (told["delivery"], told["run"]["id"])
    assert json.loads(delivery["body"]) == payload()
    assert (run["number"], run["state"], run["plan"]) == (1, "pending", ["source", "sast", "build", "sca", "gate"])
    (fact,) = await props.sent(PushReceived)
    assert (fact.run, fact.number, fact.commit, fact.branch, fact.rule) == (run["id"], 1, FIRST, "main", "main")
    assert (fact.executor, fact.cause) == ("Ada", "push of 1 commit to main by Ada")


async def test_the_signature_header_is_not_kept(props: Props) -> None:
    await props.push()
    (delivery,) = await props.rows(tables.deliveries)
    assert "x-kiops-signature" not in delivery["headers"]
    assert props.secret not in json.dumps(delivery, default=str)


async def test_the_messages_of_a_run_carry_it_as_correlation_and_the_trace(props: Props) -> None:
    trace = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    answer = await props.deliver(traceparent=trace)
    import sqlalchemy as sa

    async with props.service.database.read() as tx:
        rows = await tx.all(sa.select(props.service.database.outbox))
    (headers,) = [row.headers for row in rows if row.headers["ce-type"] == "kiops.webhook.push.received"]
    assert headers["ce-correlationid"] == answer.json()["run"]["id"]
    assert headers["ce-causationid"] == answer.json()["delivery"]
    assert headers["traceparent"].startswith("00-" + "a" * 32)


# -- repeats -----------------------------------------------------------------------------------------------------------
async def test_a_repeated_delivery_is_answered_with_the_same_run(props: Props) -> None:
    first = (await props.deliver(x_kiops_delivery="d-1")).json()
    again = await props.deliver(x_kiops_delivery="d-1")
    assert again.status_code == 202
    assert (again.json()["delivery"], again.json()["run"]) == (first["delivery"], first["run"])
    assert again.json()["repeated"] is True
    assert len(await props.rows(tables.runs)) == 1


async def test_an_id_sent_with_other_content_is_still_a_repeat_and_another_id_is_not(props: Props) -> None:
    await props.deliver(x_kiops_delivery="d-1")
    assert (await props.deliver(payload(after=SECOND), x_kiops_delivery="d-1")).json()["run"]["number"] == 1
    assert (await props.deliver(x_kiops_delivery="d-2")).json()["run"]["number"] == 2


async def test_without_an_id_the_same_content_in_the_same_minute_is_a_repeat(props: Props) -> None:
    props.clock.at_ms = 1_800_000_000_000 // 60_000 * 60_000
    first = (await props.deliver()).json()
    props.clock.move(59)
    assert (await props.deliver()).json()["run"] == first["run"]
    props.clock.move(1)
    assert (await props.deliver()).json()["run"]["number"] == 2


async def test_a_repeat_of_what_was_ignored_has_the_same_reason(props: Props) -> None:
    body = payload(ref="refs/heads/topic")
    first = (await props.deliver(body, x_kiops_delivery="d")).json()
    again = (await props.deliver(body, x_kiops_delivery="d")).json()
    assert (again["run"], again["reason"]["code"]) == (None, first["reason"]["code"])
    assert len(await props.sent(DeliveryIgnored)) == 1


async def test_twenty_at_once_with_one_id_make_one_run(props: Props) -> None:
    answers = await asyncio.gather(*(props.deliver(x_kiops_delivery="same") for _ in range(20)))
    assert {answer.json()["run"]["number"] for answer in answers} == {1}
    assert len(await props.rows(tables.runs)) == 1


async def test_a_burst_has_every_number_once(props: Props) -> None:
    answers = await asyncio.gather(
        *(props.deliver(payload(after=f"{n:040x}", ref="refs/heads/main"), x_kiops_delivery=f"d{n}") for n in range(1, 101))
    )
    assert sorted(answer.json()["run"]["number"] for answer in answers) == list(range(1, 101))
    assert [fact.number for fact in await props.sent(PushReceived)] == list(range(1, 101))


# -- understood, not acted on ------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"ref": "refs/heads/topic"}, "delivery.no_rule"),
        ({"ref": "refs/tags/v1"}, "delivery.no_rule"),
        ({"after": ZERO, "before": FIRST}, "delivery.branch_deleted"),
        ({"ref": "refs/tags/v1", "after": ZERO, "before": FIRST}, "delivery.tag_deleted"),
        ({"ref": "refs/notes/x"}, "delivery.ref_kind"),
    ],
)
async def test_what_makes_no_run_is_202_with_the_reason(props: Props, changes: dict[str, str], code: str) -> None:
    told = await props.push(**changes)
    assert (told["run"], told["reason"]["code"]) == (None, code)
    (fact,) = await props.sent(DeliveryIgnored)
    assert (fact.delivery, fact.code, fact.reason) == (told["delivery"], code, told["reason"]["text"])
    (row,) = await props.rows(tables.deliveries)
    assert (row["verdict"], row["code"]) == ("ignored", code)


async def test_the_reason_says_what_the_rule_names(props: Props) -> None:
    told = await props.push(ref="refs/heads/topic")
    assert told["reason"]["text"] == "the rule does not name branch topic; it names main"


async def test_a_ping_makes_the_endpoint_active(props: Props) -> None:
    answer = await props.deliver({"zen": "hello"}, x_kiops_event="ping")
    assert (answer.status_code, answer.json()["reason"]["code"]) == (202, "delivery.ping")
    assert [fact.state for fact in await props.sent(EndpointChanged)] == [EndpointState.READY, EndpointState.ACTIVE]


# -- refs, tags, sizes -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("branch", ["feature/a/b", "ünïcödé/ветка-🚀", "release/1.2"])
async def test_slashes_and_unicode_in_refs(props: Props, branch: str) -> None:
    await props.hear(SetRule(organisation="main", service=_shop(), branches=["*"], intent="i1"))
    await props.push(ref=f"refs/heads/{branch}")
    (fact,) = await props.sent(PushReceived)
    assert (fact.branch, fact.ref) == (branch, f"refs/heads/{branch}")


async def test_a_tag_that_the_rule_names_makes_a_run(props: Props) -> None:
    await props.hear(SetRule(organisation="main", service=_shop(), branches=["main"], tags=["v*"], intent="i1"))
    told = await props.push(ref="refs/tags/v1.0")
    (fact,) = await props.sent(PushReceived)
    assert (told["run"]["number"], fact.tag, fact.branch, fact.rule) == (1, "v1.0", "", "v*")


async def test_10_000_changed_files_fit(props: Props) -> None:
    files = [f"src/package_{n:05}/a_file_with_a_name.py" for n in range(10_000)]
    body = payload(before=SECOND)
    body["commits"][0]["added"] = files
    answer = await props.deliver(body)
    assert answer.status_code == 202
    (fact,) = await props.sent(PushReceived)
    assert (fact.changed_count, len(fact.changed_paths)) == (10_000, 200)
    assert len(fact.model_dump_json()) < 256 * 1024


def _shop() -> str:
    from .conftest import SHOP

    return SHOP


# -- refused -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("signature", "code"),
    [
        ("", "webhook.signature_missing"),
        ("sha256=" + "0" * 64, "webhook.signature_wrong"),
        ("sha256=é" + "0" * 63, "webhook.signature_wrong"),
        ("ÿþ", "webhook.signature_wrong"),
        ("sha1=abc", "webhook.signature_wrong"),
    ],
)
async def test_a_missing_or_wrong_signature_is_401_and_recorded(props: Props, signature: str, code: str) -> None:
    answer = await props.deliver(signature=signature)
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (401, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["advice"]
    (row,) = await props.rows(tables.deliveries)
    assert (row["id"], row["verdict"], row["code"], row["body"]) == (problem["delivery"], "unsigned", code, None)
    assert await props.rows(tables.runs) == []


async def test_a_signature_of_another_body_is_wrong(props: Props) -> None:
    answer = await props.deliver(payload(), signature=sign(props.secret, b"another"))
    assert answer.status_code == 401


async def test_nobody_without_the_secret_can_take_a_delivery_id_away(props: Props) -> None:
    await props.deliver(signature="sha256=" + "0" * 64, x_kiops_delivery="d-1")
    assert (await props.deliver(x_kiops_delivery="d-1")).json()["run"]["number"] == 1


async def test_the_ledger_forgets_what_came_without_the_secret(wired: Wired) -> None:
    async with wired(keep_refused=3) as props:
        await props.register()
        await props.push()
        for _ in range(6):
            props.clock.move(1)
            await props.deliver(signature="sha256=" + "0" * 64)
        verdicts = [row["verdict"] for row in await props.rows(tables.deliveries)]
        assert sorted(verdicts) == ["run", "unsigned", "unsigned", "unsigned"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"not json", "webhook.body_not_json"),
        (b"", "webhook.body_not_json"),
        (b'{"ref": "a\\u0000b"}', "webhook.body_nul"),
        (b'{"ref": "\\ud800"}', "webhook.body_surrogate"),
        (b'{"id": 99999999999999999999999999}', "webhook.number_too_large"),
        (b'{"id": ' + b"9" * 10_000 + b"}", "webhook.number_too_large"),
        (b"[" * 50_000, "webhook.body_too_deep"),
        (b"\xff", "webhook.body_not_utf8"),
        (b"[1]", "webhook.body_no_object"),
        (b"{}", "webhook.ref_wrong"),
        (json.dumps(payload(after="short")).encode(), "webhook.commit_wrong"),
        (json.dumps(payload(commits=7)).encode(), "webhook.payload_wrong"),
    ],
)
async def test_what_is_signed_and_no_delivery_is_400_and_kept_whole(props: Props, raw: bytes, code: str) -> None:
    answer = await props.deliver(raw, signature=sign(props.secret, raw))
    assert (answer.status_code, answer.json()["code"]) == (400, code)
    (row,) = await props.rows(tables.deliveries)
    assert (row["verdict"], row["code"], row["body"]) == ("refused", code, raw)
    assert (await props.push())["run"]["number"] == 1, "and the next delivery finds everything in order"


async def test_a_delivery_id_that_is_none_is_400(props: Props) -> None:
    answer = await props.deliver(x_kiops_delivery="é" * 10)
    assert (answer.status_code, answer.json()["code"]) == (400, "webhook.delivery_id_wrong")


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "", "application/jsonp"])
async def test_another_content_type_is_415(props: Props, kind: str) -> None:
    answer = await props.deliver(content_type=kind)
    assert (answer.status_code, answer.json()["code"]) == (415, "webhook.content_type")


async def test_json_with_a_charset_is_json(props: Props) -> None:
    assert (await props.deliver(content_type="Application/JSON; charset=utf-8")).status_code == 202


async def test_a_body_over_the_limit_is_413(wired: Wired) -> None:
    async with wired(max_body_bytes=2048) as props:
        await props.register()
        answer = await props.deliver(payload(padding="x" * 2048))
        assert (answer.status_code, answer.json()["code"]) == (413, "webhook.body_too_large")
        assert (await props.push())["run"]["number"] == 1


async def test_a_body_over_the_limit_is_given_up_while_it_comes(wired: Wired) -> None:
    async with wired(max_body_bytes=2048) as props:
        await props.register()
        read = 0

        async def endless() -> Any:
            nonlocal read
            while read < 1000:
                read += 1
                yield b"x" * 1024

        answer = await props.client.post(props.endpoint, content=endless(), headers={"content-type": "application/json"})
        assert answer.status_code == 413
        assert read < 10


@pytest.mark.parametrize(
    "path", ["generic/ep_unknown", "generic/%00", "generic/" + "x" * 3000, "nobody/ep_1", "generic/..%2f..", "github/{own}"]
)
async def test_an_unknown_endpoint_is_404(props: Props, path: str) -> None:
    own = props.endpoint.rsplit("/", 1)[1]
    props.endpoint = "/api/v1/webhook/" + path.replace("{own}", own)
    answer = await props.deliver()
    assert answer.status_code == 404
    if "%2f" not in path:
        assert answer.json()["code"] == "webhook.endpoint_unknown"


async def test_what_cannot_be_stored_is_503_with_retry_after_and_leaves_nothing(wired: Wired) -> None:
    async with wired(retry_after_seconds=7) as props:
        await props.register()
        database = props.service.database
        write = database.write
        database.write = lambda: (_ for _ in ()).throw(Unavailable("database.away", "the disk is full"))  # type: ignore[assignment,method-assign]
        answer = await props.deliver(x_kiops_delivery="d")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "7")
        assert answer.json()["code"] == "database.away"
        database.write = write  # type: ignore[method-assign]
        assert (await props.deliver(x_kiops_delivery="d")).json()["run"]["number"] == 1


@pytest.mark.slow
@pytest.mark.one_database
async def test_a_locked_database_is_503_and_the_repeat_is_taken(props: Props, tmp_path: Path) -> None:
    import sqlite3

    (path,) = tmp_path.glob("data/services/webhook/*.db")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("begin immediate")
    try:
        answer = await props.deliver(x_kiops_delivery="d")
    finally:
        other.execute("rollback")
        other.close()
    assert (answer.status_code, "retry-after" in answer.headers) == (503, True)
    assert (await props.deliver(x_kiops_delivery="d")).json()["run"]["number"] == 1


# -- superseding -------------------------------------------------------------------------------------------------------
async def test_a_newer_push_of_the_branch_supersedes_the_older_run(props: Props) -> None:
    await props.push(after=FIRST, before=ZERO)
    await props.push(after=SECOND, before=FIRST)
    (old,) = await props.sent(RunSuperseded)
    (over,) = await props.sent(RunFinished)
    assert (old.number, old.by_number) == (1, 2)
    assert (over.number, over.outcome) == (1, RunState.SUPERSEDED)
    assert [run["state"] for run in await props.rows(tables.runs)] == ["superseded", "pending"]


async def test_another_branch_or_service_is_left_alone(props: Props) -> None:
    await props.hear(SetRule(organisation="main", service=_shop(), branches=["*"], intent="i"))
    await props.push()
    await props.push(ref="refs/heads/topic", after=SECOND)
    await props.register("svc_" + "2" * 32, name_="other")
    await props.push(after=THIRD)
    assert await props.sent(RunSuperseded) == []


async def test_a_rule_can_switch_superseding_off(props: Props) -> None:
    await props.hear(SetRule(organisation="main", service=_shop(), branches=["main"], supersede=False, intent="i"))
    await props.push(after=FIRST)
    await props.push(after=SECOND, before=FIRST)
    assert await props.sent(RunSuperseded) == []


async def test_tags_supersede_nothing(props: Props) -> None:
    await props.hear(SetRule(organisation="main", service=_shop(), tags=["v*"], intent="i"))
    await props.push(ref="refs/tags/v1", after=FIRST)
    await props.push(ref="refs/tags/v1", after=SECOND)
    assert await props.sent(RunSuperseded) == []


async def test_a_delivery_that_comes_late_gets_its_run_which_the_newer_one_supersedes(props: Props) -> None:
    await props.push(before=SECOND, after=THIRD)
    told = await props.push(before=FIRST, after=SECOND)
    assert told["run"]["number"] == 2
    (fact,) = await props.sent(RunSuperseded)
    assert (fact.number, fact.by_number) == (2, 1)
    kinds = [type(message).__name__ for message in await props.sent(PushReceived, RunSuperseded, RunFinished)]
    assert kinds == ["PushReceived", "PushReceived", "RunSuperseded", "RunFinished"]
