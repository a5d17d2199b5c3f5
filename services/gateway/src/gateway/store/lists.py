"""Lists of the read model as the API shows them: only the columns that are shown, JSON left as text, statements built once.

To build a statement costs more than to run it, and to take JSON apart only to put it together again more than to read it: so a list
keeps a statement for each set of filters that it is asked with, and hands out rows that go to the wire as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from shared.database import Tx
from sqlalchemy.sql import operators
from sqlalchemy.sql.expression import UnaryExpression


class Shown:
    """The columns of a table that go out under their names, and `also` those that only order the list. Made once for each list."""

    def __init__(self, table: sa.Table, names: Iterable[str], also: Iterable[str] = ()) -> None:
        columns = [table.c[each] for each in names]
        self.table = table
        self.columns = [sa.cast(each, sa.Text).label(each.name) if _is_json(each) else each for each in columns]
        self.columns += [table.c[each] for each in also]
        self._many = len(columns)
        self._json = [at for at, each in enumerate(columns) if _is_json(each)]
        kinds = [(str(each.name), msgspec.Raw if _is_json(each) else Any) for each in columns]
        self._struct = msgspec.defstruct(str(table.name), kinds, gc=False)

    def out(self, row: Sequence[Any]) -> msgspec.Struct:
        """What `msgspec.json.encode` writes of a row that was read with these columns; JSON goes out as it is stored."""
        values = list(row[: self._many])
        for at in self._json:
            values[at] = msgspec.Raw(values[at] if values[at] is not None else "null")
        return self._struct(*values)


def _is_json(column: sa.Column[Any]) -> bool:
    return isinstance(column.type, sa.JSON)


def kept(tx: Tx, key: tuple[Any, ...], make: Callable[[], Any]) -> Any:
    """The statement of this key, made when it is asked for the first time."""
    statement = tx.database.statements.get(key)
    if statement is None:
        statement = tx.database.statements[key] = make()
    return statement


def _passing(tx: Tx, column: sa.Column[Any]) -> Any:
    # SQLite takes no index for an expression. PostgreSQL weighs what its statistics say, and looks into the index all the same.
    if tx.database.is_postgresql:
        return column
    return UnaryExpression(column, operator=operators.custom_op("+"), type_=column.type)


def asked(**equal: str) -> dict[str, str]:
    """Column and value of each filter that was given."""
    return {name: value for name, value in equal.items() if value}


def of(organisation: str, service_id: str) -> dict[str, str]:
    """Of a service, which is the organisation's by having been found in it; else of the organisation."""
    return {"service_id": service_id} if service_id else {"organisation_id": organisation}


async def page(
    tx: Tx,
    shown: Shown,
    equal: Mapping[str, Any],
    order: Sequence[str],
    *,
    past: Sequence[Any] | None = None,
    limit: int | None = None,
    up: bool = False,
    among: Mapping[str, Any] | None = None,
    where: Sequence[Any] = (),
    values: Mapping[str, Any] | None = None,
) -> Sequence[sa.Row[Any]]:
    """Rows whose columns have these values, in the descending order of some columns (ascending: `up`).

    `equal` with `order` is what an index has. `among` are filters beside it: rows that do not have these values are passed over on
    the way, and never is another index taken for their sake, which would have to sort what it finds.
    `past`: the values of those columns in the last row already seen. `where`: more conditions, constants of their module, with the
    `values` they take.
    """

    def make() -> Any:
        table = shown.table
        query = sa.select(*shown.columns).where(*(table.c[name] == sa.bindparam(f"is_{name}") for name in equal), *where)
        query = query.where(*(_passing(tx, table.c[name]) == sa.bindparam(f"is_{name}") for name in among or ()))
        columns = [table.c[name] for name in order]
        if past is not None:
            seen = [sa.bindparam(f"past_{each.name}", type_=each.type) for each in columns]
            left, right = (sa.tuple_(*columns), sa.tuple_(*seen)) if len(order) > 1 else (columns[0], seen[0])
            query = query.where(left > right if up else left < right)
        query = query.order_by(*(each.asc() if up else each.desc() for each in columns))
        return query.limit(sa.bindparam("most", type_=sa.Integer)) if limit is not None else query

    key = ("list", shown, tuple(equal), tuple(among or ()), tuple(order), tuple(map(id, where)), past is None, limit is None, up)
    given = {f"is_{name}": value for name, value in {**equal, **(among or {})}.items()} | dict(values or {})
    if past is not None:
        given |= {f"past_{name}": value for name, value in zip(order, past, strict=True)}
    if limit is not None:
        given["most"] = limit
    return await tx.all(kept(tx, key, make), given)
