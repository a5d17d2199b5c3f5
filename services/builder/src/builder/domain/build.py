"""Rules of a build: what it is called, what its version is, what caused it, and when it may not begin."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from builder.errors import VersionInvalid, VersionTaken

VERSION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
LABEL = "org.kiops"


class BuildState(StrEnum):
    """Where a build stands. Succeeded, failed and cancelled are final."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Stage(StrEnum):
    """The parts of a build that are timed and blamed: fetching, reading, building, handing over."""

    CLONE = "clone"
    ANALYSE = "analyse"
    BUILD = "build"
    PUSH = "push"


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """What a run wants built. Paths are relative to the repository's root; `credential` is a reference, never a value;
    `number` is the run's, `version` what a person chose."""

    organisation: str
    service: str
    service_name: str
    run: str
    number: int
    commit: str
    repository_url: str
    ref: str = ""
    credential: str | None = None
    dockerfile: str = "./Dockerfile"
    context: str = "."
    version: str | None = None
    trigger: str = ""
    executor: str = ""
    cause: str = ""


@dataclass(frozen=True, slots=True)
class Ticket:
    """A build that was queued: the request, the build's id (its job has the same) and the version its image will have."""

    build: str
    request: BuildRequest
    version: str
    version_by_hand: bool

    def payload(self) -> dict[str, Any]:
        """As a job carries it."""
        return asdict(self)

    @classmethod
    def read(cls, payload: Mapping[str, Any]) -> Ticket:
        """The way back from `payload()`."""
        return cls(**{**payload, "request": BuildRequest(**payload["request"])})


@dataclass(frozen=True, slots=True)
class Timing:
    """How long a build took, whole and by stage, in milliseconds, and where its log is kept."""

    duration_ms: int
    stages_ms: Mapping[str, int] = field(default_factory=dict)
    log: str | None = None
    log_lines: int = 0


@dataclass(frozen=True, slots=True)
class Taken:
    """An earlier build that uses a version: its commit and number, and whether it may still become an image."""

    commit: str
    number: int


def timestamp_version(now_ms: int, commit: str, number: int) -> str:
    """The version nobody chose: `20260326-143000-9f3c1ab`, in UTC; the run's number stands in for an unknown commit."""
    moment = datetime.fromtimestamp(now_ms / 1000, UTC).strftime("%Y%m%d-%H%M%S")
    return f"{moment}-{commit[:7] or number}"


def chosen_version(version: str, commit: str, taken: Taken | None) -> str:
    """The version a person chose. Raises VersionInvalid, or VersionTaken when another commit has it already."""
    if not VERSION.fullmatch(version):
        raise VersionInvalid(version)
    if taken is not None and taken.commit != commit:
        raise VersionTaken(version, taken.commit, taken.number)
    return version


def image_name(service_name: str, service: str) -> str:
    """The repository part of the image's name. Names of services are DNS labels; anything else is made one."""
    name = re.sub(r"[^a-z0-9]+", "-", service_name.lower()).strip("-")
    return name or service.lower().replace("_", "-")


def labels(*, platform: str, job: str, token: int, service: str, commit: str, version: str, run: str) -> dict[str, str]:
    """What is written on the image, so that it can be found again and a left-over told from a result.

    `kiops.platform` and `kiops.service` are the labels by which everything of a platform is found when it is taken away.
    """
    return {
        "kiops.platform": platform,
        "kiops.service": service,
        f"{LABEL}.job": job,
        f"{LABEL}.token": str(token),
        f"{LABEL}.service": service,
        f"{LABEL}.commit": commit,
        f"{LABEL}.version": version,
        f"{LABEL}.run": run,
    }


def cause_line(trigger: str, executor: str, cause: str, ref: str) -> str:
    """The first line of a build's log: why this build exists.

    `cause` is what the run says of itself ("push of 3 commits to main"); who it was is added when it does not say so.
    """
    what = cause or (f"push to {short_ref(ref)}" if trigger == "webhook" else f"build of {short_ref(ref) or 'a commit'}")
    if executor and executor not in what:
        what = f"{what} by {executor}"
    return f"{_BEGAN.get(trigger, 'Triggered')}: {what}"


_BEGAN = {
    "webhook": "Triggered by webhook",
    "manual": "Started by hand",
    "scheduled": "Triggered by schedule",
    "sweep": "Triggered by the sweep for missed pushes",
    "replay": "Triggered by a replayed delivery",
    "api": "Started over the API",
    "image_tag": "Triggered by an image tag",
    "promotion": "Triggered by a promotion",
    "rollback": "Triggered by a rollback",
}


def short_ref(ref: str) -> str:
    """`refs/heads/feature/x` as people say it: `feature/x`."""
    return re.sub(r"^refs/(heads|tags)/", "", ref)


def waits_for(ahead_of_service: list[int], running: int, slots: int) -> str:
    """What a queued build waits for, in words; empty when it can start at once.

    `ahead_of_service` are the run numbers of the same service's unfinished builds, which go strictly one after another.
    """
    if ahead_of_service:
        more = len(ahead_of_service) - 1
        return f"build #{max(ahead_of_service)} of this service" + (f" and {more} before it" if more else "")
    if running >= slots:
        return f"a free slot: {running} of {slots} builds are running"
    return ""
