"""The codes of every state, cause and verdict. Labels that people read live in the gateway.

A reader that meets a code it does not know gets `other`: a newer writer never breaks an older reader.
"""

from __future__ import annotations

from enum import StrEnum


class Word(StrEnum):
    """An enumeration whose unknown values become OTHER."""

    @classmethod
    def _missing_(cls, value: object) -> Word | None:
        return cls.__members__.get("OTHER")  # type: ignore[return-value]


class Trigger(Word):
    """What began a run."""

    MANUAL = "manual"
    WEBHOOK = "webhook"
    SCHEDULED = "scheduled"
    SWEEP = "sweep"
    REPLAY = "replay"
    IMAGE_TAG = "image_tag"
    API = "api"
    ROLLBACK = "rollback"
    PROMOTION = "promotion"
    OTHER = "other"


class RunState(Word):
    """Where a run stands. Success, Failed, Blocked, Cancelled and Superseded are final."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCESS = "success"
    FAILED = "failed"
    BLOCKED = "blocked"
    HELD = "held"
    CANCELLED = "cancelled"
    SUPERSEDED = "superseded"
    OTHER = "other"


RUN_ENDED = frozenset({RunState.SUCCESS, RunState.FAILED, RunState.BLOCKED, RunState.CANCELLED, RunState.SUPERSEDED})


class Step(Word):
    """The steps a run's plan may have, in the order in which they are shown."""

    SOURCE = "source"
    SAST = "sast"
    BUILD = "build"
    SCA = "sca"
    GATE = "gate"
    DEPLOY = "deploy"
    OPERATE = "operate"
    DAST = "dast"
    OTHER = "other"


class StepState(Word):
    """Where a step of a run stands."""

    WAITING = "waiting"
    RUNNING = "running"
    SUCCESS = "success"
    WARNING = "warning"
    FAILED = "failed"
    BLOCKED = "blocked"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"
    NOT_IN_RUN = "not_in_run"
    OTHER = "other"


class Area(Word):
    """The eight areas a gate decision looks at."""

    SAST = "sast"
    SCA = "sca"
    SBOM = "sbom"
    LICENSE = "license"
    SECRETS = "secrets"
    IAC = "iac"
    DAST = "dast"
    IMAGE = "image"
    OTHER = "other"


class Evidence(Word):
    """What is known of an area when the gate decides. PARTIAL and NO_DATA are told apart from FRESH on purpose."""

    FRESH = "fresh"
    STALE = "stale"
    MISSING = "missing"
    RUNNING = "running"
    FAILED = "failed"
    PARTIAL = "partial"
    NO_DATA = "no_data"
    NOT_APPLICABLE = "not_applicable"
    OTHER = "other"


class ScanState(Word):
    """How a scan of one area ended. Only COMPLETED resolves findings."""

    COMPLETED = "completed"
    PARTIAL = "partial"
    NO_DATA = "no_data"
    NOT_APPLICABLE = "not_applicable"
    FAILED = "failed"
    OTHER = "other"


class Severity(Word):
    """One scale for all engines."""

    CRITICAL = "critical"
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"
    INFO = "info"
    OTHER = "other"


class Verdict(Word):
    """What the gate says of a digest and an environment."""

    PASS = "pass"
    WARN = "warn"
    BLOCK = "block"
    OTHER = "other"


class EnvironmentKind(Word):
    """Production is judged more strictly; chosen when the environment is made."""

    PRODUCTION = "production"
    NOT_PRODUCTION = "not_production"
    OTHER = "other"


class Phase(Word):
    """What a runtime shows of a release that is being put in place."""

    STARTING = "starting"
    PROBING = "probing"
    SWITCHED = "switched"
    DRAINING = "draining"
    HEALTHY = "healthy"
    SETTLED = "settled"
    UNHEALTHY = "unhealthy"
    FAILED = "failed"
    GONE = "gone"
    OTHER = "other"


class ServiceState(Word):
    """A service at a glance, as the dashboard rolls it up."""

    REGISTERED = "registered"
    BUILDING = "building"
    BUILD_FAILED = "build_failed"
    BLOCKED = "blocked"
    DEPLOYING = "deploying"
    DEPLOY_FAILED = "deploy_failed"
    RUNNING = "running"
    DEGRADED = "degraded"
    STOPPED = "stopped"
    UNREACHABLE = "unreachable"
    OTHER = "other"


class EndpointState(Word):
    """A webhook endpoint."""

    ACTIVE = "active"
    READY = "ready"
    UNCONFIGURED = "unconfigured"
    INACTIVE = "inactive"
    OTHER = "other"
