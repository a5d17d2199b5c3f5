"""What the operator-proxy answers: whether a runtime can take a release."""

from __future__ import annotations

from shared.facts._base import Query
from shared.queries import Answer


class Preflight(Answer):
    """What the runtime shows before anything is changed on it."""

    reachable: bool = False
    image_exists: bool = False


class AskPreflight(
    Query,
    owner="operator-proxy",
    name="runtime.preflight",
    askers=("deployer",),
    answer=Preflight,
    tail="runtime",
):
    """Can this runtime take this image now?"""

    runtime: str
    image_id: str
