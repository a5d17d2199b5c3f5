"""What every policy engine promises, and how its raw answer becomes a decision."""

from __future__ import annotations

from typing import Any, Protocol

from gate.clients.bundle import Bundle
from gate.domain.decision import Decision, denied, read_decision
from gate.errors import EngineProblem
from shared import tracing


class RawEngine(Protocol):
    """An engine that answers raw: what the entry rule says of the input. Raises EngineProblem."""

    name: str

    async def ask(self, bundle: Bundle, document: dict[str, Any]) -> Any: ...

    async def check(self) -> None: ...

    async def close(self) -> None: ...


class PolicyEngine:
    """Evaluates a bundle on an input document. Never raises for a bad answer: that is a deny with the reason."""

    def __init__(self, raw: RawEngine) -> None:
        self.raw = raw

    @property
    def name(self) -> str:
        """Engine and version, such as `regorus 0.13.0`."""
        return self.raw.name

    async def evaluate(self, bundle: Bundle, document: dict[str, Any]) -> Decision:
        """The decision on this input; a deny when the engine fails, says nothing, or answers in a wrong shape."""
        try:
            with tracing.span("opa evaluate", {"kiops.engine": self.raw.name, "kiops.policy": bundle.name}):
                return read_decision(await self.raw.ask(bundle, document))
        except EngineProblem as problem:
            return denied(document, problem.code, problem.message, problem.advice)

    async def check(self) -> None:
        """Raises when the engine could not answer now (for /readyz)."""
        await self.raw.check()

    async def close(self) -> None:
        await self.raw.close()
