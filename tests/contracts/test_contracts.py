"""What is said on the bus: one owner and a reader for every subject, one example of every message, contracts only grow."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from shared.bus import HEARS, SERVICES, queries, stored
from shared.facts import REGISTRY
from shared.permissions import identities
from shared.queries.every import EVERY

from tests.contracts.growth import breaks, schemas

SHARED = Path(__file__).parents[2] / "shared" / "src" / "shared"
RELEASED = Path(__file__).with_name("released.json")


def example_path(cls) -> Path:
    folder = "facts" if cls.kind == "fact" else "orders"
    return SHARED / folder / "examples" / f"{cls.name}.v1.json"


@pytest.mark.parametrize("cls", stored(), ids=lambda cls: cls.type())
def test_every_message_has_one_example_that_is_read(cls) -> None:
    """The example is what the publisher sends and what the reader is given: all its fields, and no unknown one."""
    body = json.loads(example_path(cls).read_text())
    message = cls.model_validate(body)
    assert set(body) <= set(cls.model_fields), "a field that the contract does not have"
    missing = {name for name, field in cls.model_fields.items() if field.is_required()} - set(body)
    assert not missing
    assert message.subject.startswith(cls.type() + ".")
    assert cls.model_validate({**body, "a_field_of_a_later_release": 1}) == message


def test_no_example_is_without_its_message() -> None:
    known = {example_path(cls) for cls in stored()}
    found = {*(SHARED / "facts" / "examples").glob("*.json"), *(SHARED / "orders" / "examples").glob("*.json")}
    assert found - known == set()


def test_every_subject_has_one_owner_and_a_reader() -> None:
    heard = {cls for classes in HEARS.values() for cls in classes}
    for cls in stored():
        assert cls.owner in SERVICES
        assert cls in heard, f"nobody hears {cls.type()}"
    assert len({cls.type() for cls in REGISTRY.values()}) == len(REGISTRY)


def test_a_query_is_on_no_subject_that_a_stream_keeps() -> None:
    kept = {cls.type() for cls in stored()}
    for query in queries():
        assert query.type() not in kept and query.askers and query.owner in (*SERVICES, EVERY)


def test_orders_have_senders_that_may_publish_them() -> None:
    rights = identities()
    for cls in stored():
        if cls.kind == "order":
            assert cls.senders
            for service in SERVICES:
                assert (cls.pattern() in rights[service]["publish"]) == (service in cls.senders)
        else:
            for service in SERVICES:
                assert (cls.pattern() in rights[service]["publish"]) == (service == cls.owner)


def test_an_unknown_word_becomes_other() -> None:
    from shared.words import RunState, Severity, Verdict

    assert (RunState("from_tomorrow"), Severity("apocalyptic"), Verdict("perhaps")) == ("other", "other", "other")


def test_contracts_only_grow() -> None:
    """Compared with those of the last release. To add a field, give it a default; a new meaning is a new message."""
    assert breaks(json.loads(RELEASED.read_text()), schemas()) == []


def test_what_breaks_a_contract_is_said_in_words() -> None:
    old = {"kiops.a.b.c": {"fields": {"run": {"type": "string"}, "count": {"type": "integer"}}, "required": ["run"]}}
    gone: dict = {}
    assert breaks(old, gone) == ["kiops.a.b.c was taken away: older services still say or hear it"]
    lost = {"kiops.a.b.c": {"fields": {"run": {"type": "string"}}, "required": ["run"]}}
    assert breaks(old, lost) == ["kiops.a.b.c lost the field count"]
    changed = {"kiops.a.b.c": {"fields": {"run": {"type": "string"}, "count": {"type": "string"}}, "required": ["run"]}}
    assert breaks(old, changed) == ["kiops.a.b.c changed the shape of count"]
    needed = {"kiops.a.b.c": {"fields": {**old["kiops.a.b.c"]["fields"], "by": {"type": "string"}}, "required": ["run", "by"]}}
    assert breaks(old, needed) == ["kiops.a.b.c now needs by, which older messages do not have: give it a default"]
    grown = {"kiops.a.b.c": {"fields": {**old["kiops.a.b.c"]["fields"], "by": {"type": "string"}}, "required": ["run"]}}
    assert breaks(old, grown) == []
