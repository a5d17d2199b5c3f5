"""What the deployer answers: what would come back."""

from __future__ import annotations

from pydantic import Field

from shared.facts._base import Query
from shared.queries import Answer


class RollbackPreview(Answer):
    """What a rollback changes: lines of a diff ("- image ...", "+ image ...", "  variable ..."), and whether it can be done."""

    release: str = ""
    release_number: int = 0
    from_number: int | None = None
    image_exists: bool = False
    target_reachable: bool = False
    lines: list[str] = Field(default_factory=list)


class PreviewRollback(Query, owner="deployer", name="rollback.preview", askers=("gateway",), answer=RollbackPreview):
    """What comes back if this environment returns to this release (None: the one before the one that runs)?"""

    environment: str
    release: str | None = None
