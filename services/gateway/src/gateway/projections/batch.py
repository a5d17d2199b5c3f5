"""One batch of facts: read, loaded for, applied in stream order, folded, written. The live loop and a rebuild both go this way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from operator import attrgetter
from typing import Any, Protocol

from shared.database import Tx
from shared.facts._base import Fact

from gateway.projections.folding import fold
from gateway.projections.model import Model, Wanted
from gateway.projections.reading import reader
from gateway.projections.told import Told

Projection = Callable[[Model, Any, Any], None]


class Incoming(Protocol):
    """A fact as the stream brought it."""

    @property
    def envelope(self) -> Told: ...
    @property
    def body(self) -> str | bytes: ...


class Projector:
    """The projections of a table {contract: function}, by the type that a subject begins with."""

    def __init__(self, projections: dict[type[Fact], Projection]) -> None:
        self._table: dict[str, tuple[Callable[[str | bytes], Any], Callable[[Any, Wanted], None], Projection]] = {
            fact.type(): (reader(fact), _wants(fact), function) for fact, function in projections.items()
        }

    async def project(
        self, tx: Tx, batch: Sequence[Incoming], watch: Callable[[Any], AbstractContextManager[Any]] | None = None
    ) -> None:
        """Write what these facts make of the read model. `watch` is entered around each of them.

        Raises ValueError for a body that is not its contract's; nothing has been written then.
        """
        wanted, told = Wanted(), []
        for incoming in batch:
            envelope = incoming.envelope
            read, want, function = self._table[_type(envelope.subject)]
            message = read(incoming.body)
            want(message, wanted)
            told.append((function, message, envelope, incoming))
        model = Model()
        await model.load(tx, wanted)
        for function, message, envelope, incoming in told:
            if watch is None:
                function(model, message, envelope)
            else:
                with watch(incoming):
                    function(model, message, envelope)
        fold(model)
        await model.write(tx)


def _type(subject: str) -> str:
    return subject.rsplit(".", 2)[0]


def _wants(fact: type[Fact]) -> Callable[[Any, Wanted], None]:
    """What rows a fact may ask for, by the names of its fields."""
    sinks = {"run": ["runs"], "build": ["builds"], "request": ["deploys"]}
    sinks |= {"release": ["releases"], "back_to": ["releases"], "from_release": ["releases"]}
    if fact.tail == "service":
        sinks["service"] = ["services"]
    if fact.name == "release.observed":
        sinks["release"].append("observed")
    if fact.name == "runtime.changed":
        sinks["runtime"] = ["runtimes"]
    if fact.name in ("push.received", "run.started"):
        sinks["run"].append("born")
    if "scan" in fact.model_fields:
        sinks["run"].append("scanned")
    pairs = [(field, into) for field, names in sinks.items() if field in fact.model_fields for into in names]
    values = attrgetter(*(field for field, _ in pairs), "organisation")
    names = [into for _, into in pairs]
    finds = fact.name == "scan.finished"

    def want(message: Any, wanted: Wanted) -> None:
        for value, into in zip(values(message), names, strict=False):
            if value:
                getattr(wanted, into).add(value)
        if finds:
            wanted.known.add((message.service, str(message.area)))

    return want
