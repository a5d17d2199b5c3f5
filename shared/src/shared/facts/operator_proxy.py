"""What the operator-proxy announces: what its runtimes really show."""

from __future__ import annotations

from pydantic import Field

from shared.facts._base import Fact
from shared.words import Phase


class RuntimeChanged(Fact, owner="operator-proxy", name="runtime.changed", tail="runtime"):
    """A runtime was registered, or what it can do or whether it answers changed. `abilities` are codes such as build, limits."""

    runtime: str
    label: str
    runtime_kind: str
    reachable: bool
    version: str = ""
    abilities: list[str] = Field(default_factory=list)
    reason: str = ""


class ReleaseObserved(Fact, owner="operator-proxy", name="release.observed", tail="runtime"):
    """What the runtime shows of a release: not yet, healthy, cannot, gone; with the cause. `step` of `steps` while it is put
    in place; `attempt` is the fencing token of the job that saw it."""

    runtime: str
    release: str
    run: str
    environment: str
    phase: Phase
    step: int = 0
    steps: int = 0
    text: str = ""
    attempt: int = 1
    container: str = ""
    image_id: str = ""
    url: str = ""
    stages_ms: dict[str, int] = Field(default_factory=dict)
    seconds: int = 0
    code: str = ""
    reason: str = ""
    advice: str = ""
