"""What the builder answers: whether an image still exists."""

from __future__ import annotations

from shared.facts._base import Query
from shared.queries import Answer


class ImageExists(Answer):
    """`exists` is what the engine's store shows now."""

    exists: bool = False


class AskImageExists(Query, owner="builder", name="image.exists", askers=("deployer", "gateway"), answer=ImageExists):
    """Is this image still there?"""

    image_id: str
