"""Messages that no service could handle."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.contexts.frame import Frame


@dataclass(frozen=True)
class LetterRow:
    """One of them. `run` is the run's address, empty when it belongs to none; `body` and `headers` only of the opened one."""

    holder: str
    id: str
    type: str
    href: str
    code: str
    error: str
    attempts: int
    at_ms: int
    run: str
    open: bool
    subject: str = ""
    body: str = ""
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class LettersPage:
    frame: Frame
    rows: tuple[LetterRow, ...]
    total: int
    silent: tuple[str, ...]
