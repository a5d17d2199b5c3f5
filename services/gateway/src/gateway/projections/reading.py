"""Facts read fast: for each contract a plain struct with the same fields and defaults, decoded and checked by msgspec in one go.

A body that msgspec refuses is given to the contract itself, which is more lenient (and whose complaint is the one that counts).
"""

from __future__ import annotations

import types
import typing
from collections.abc import Callable
from enum import Enum
from functools import cache
from typing import Any

import msgspec
from pydantic import BaseModel
from pydantic_core import PydanticUndefined
from shared.facts._base import Part


@cache
def struct(contract: type[BaseModel]) -> type[msgspec.Struct]:
    """The struct of a contract or of a part of one."""
    required, optional = [], []
    for name, field in contract.model_fields.items():
        kind = _plain(field.annotation)
        if field.is_required():
            required.append((name, kind))
        elif field.default_factory is not None:
            optional.append((name, kind, msgspec.field(default_factory=field.default_factory)))  # type: ignore[arg-type]
        else:
            assert field.default is not PydanticUndefined
            optional.append((name, kind, field.default))
    return msgspec.defstruct(contract.__name__, [*required, *optional], kw_only=True, gc=False)


def _plain(kind: Any) -> Any:
    """A type of a contract in the words of msgspec: parts become structs, the rest stays."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return typing.Union[tuple(_plain(each) for each in inner)]  # noqa: UP007  (made at run time)
    if origin is not None:
        return origin[tuple(_plain(each) for each in inner)]
    if isinstance(kind, type) and issubclass(kind, Part):
        return struct(kind)
    assert kind in (str, int, float, bool, type(None)) or issubclass(kind, Enum), f"no plain type for {kind}"
    return kind


@cache
def reader(contract: type[BaseModel]) -> Callable[[str | bytes], Any]:
    """A function that makes the struct of a body. Raises ValueError when it is not the contract's."""
    made = struct(contract)
    decode = msgspec.json.Decoder(made).decode

    def read(body: str | bytes) -> Any:
        try:
            return decode(body)
        except msgspec.MsgspecError:
            return msgspec.convert(contract.model_validate_json(body).model_dump(), made)

    return read


_encode = msgspec.json.encode


def text(value: Any) -> str:
    """A value as JSON text, for a column that holds JSON."""
    if not value:  # most are empty
        return "[]" if value == [] else "{}" if value == {} else _encode(value).decode()
    return _encode(value).decode()
