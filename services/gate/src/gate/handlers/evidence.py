"""Keeps what the scanner tells. Each call runs in the loop's transaction."""

from __future__ import annotations

from collections.abc import Sequence

from shared.database import Tx

from gate import store
from gate.domain.document import Evidence
from gate.handlers.questions import Questions


class EvidenceKeeper:
    """Stores evidence and looks whether a question became ripe by it."""

    def __init__(self, questions: Questions) -> None:
        self.questions = questions

    async def note_running(
        self, tx: Tx, organisation: str, service: str, run: str, scan: str, areas: Sequence[str], at_ms: int
    ) -> None:
        """A scan of these areas waits or runs."""
        await store.note_running(tx, organisation, service, run, scan, areas, at_ms)

    async def note(
        self, tx: Tx, organisation: str, service: str, run: str, commit: str, image_id: str, told: Evidence, at_ms: int
    ) -> None:
        """A scan of one area came to an end, well or not."""
        await store.note_evidence(tx, organisation, service, run, commit, image_id, told, at_ms)
        await self.questions.consider(tx, run)

    async def stopped(self, tx: Tx, run: str, areas: Sequence[str], reason: str) -> None:
        """A scan was cancelled: its areas will not report."""
        await store.stop_running(tx, run, areas, f"the scan was cancelled: {reason}" if reason else "the scan was cancelled")
        await self.questions.consider(tx, run)
