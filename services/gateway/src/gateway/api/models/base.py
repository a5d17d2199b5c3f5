"""What all shapes have in common: bodies that come in, rows that go out, pages of them, what came of an order."""

from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from gateway.domain.names import unfit

T = TypeVar("T")


class In(BaseModel):
    """A request's body. Unknown fields are refused: a misspelt one must not be ignored."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _fit(cls, value: Any) -> Any:
        if unfit(value):
            raise ValueError("U+0000 and lone surrogates cannot be used")
        return value


class Out(BaseModel):
    """A row as the API shows it."""

    model_config = ConfigDict(from_attributes=True, extra="ignore")


class Page(BaseModel, Generic[T]):
    """Some rows; `next` is the cursor of those after them, null when there are none."""

    items: list[T]
    next: str | None = None


class OutcomeOut(Out):
    """What came of an order. `accepted`, or `asked`: not answered yet, it is stored and will be done."""

    intent: str
    state: str
    data: dict[str, str] = Field(default_factory=dict)
    seen: bool = Field(False, description="The read model shows it already.")


class DoneOut(Out):
    """Done; `seen` says that the read model shows it already."""

    seen: bool
