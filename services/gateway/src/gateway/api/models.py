"""The shapes of the API. What comes in is checked for characters that belong nowhere; what goes out are rows of the read model.

Times are epoch milliseconds (`*_at_ms`), durations milliseconds (`*_ms`).
"""

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


# -- services --------------------------------------------------------------------------------------------------------
class CredentialIn(In):
    """Sealed at once; nobody can read it back."""

    username: str = Field("", max_length=255)
    password: str = Field(min_length=1, max_length=4096, repr=False)


class EnvironmentIn(In):
    """A deploy target."""

    name: str = Field(max_length=48)
    kind: str = Field("not_production", description="production or not_production")
    runtime: str = "local"
    container_port: int = Field(8080, ge=1, le=65535)
    health_path: str = Field("/", max_length=255)
    own_port: bool = False
    variables: dict[str, str] = Field(default_factory=dict)
    observe_seconds: int = Field(60, ge=0, le=3600)


class RuleIn(In):
    """Globs; an empty list matches nothing."""

    branches: list[str] = Field(default_factory=list, max_length=50)
    tags: list[str] = Field(default_factory=list, max_length=50)
    environments: list[str] = Field(default_factory=list, max_length=50)
    supersede: bool = True


class ServiceIn(In):
    """A service with its first environment and its rule. Without a rule, pushes to its branch count."""

    name: str = Field(max_length=48, description="A DNS label, unique")
    repository_url: str = Field(max_length=2000, description="Any Git URL, or a path below an allowed folder")
    branch: str = Field("main", max_length=255)
    description: str = Field("", max_length=500)
    dockerfile: str = Field("./Dockerfile", max_length=255)
    context: str = Field(".", max_length=255)
    sample: bool = False
    credential: CredentialIn | None = None
    environment: EnvironmentIn | None = None
    rule: RuleIn | None = None


class ServiceChangeIn(In):
    """Only what is given changes."""

    repository_url: str | None = Field(None, max_length=2000)
    branch: str | None = Field(None, max_length=255)
    description: str | None = Field(None, max_length=500)
    dockerfile: str | None = Field(None, max_length=255)
    context: str | None = Field(None, max_length=255)
    credential: CredentialIn | None = None
    forget_credential: bool = False


class ServiceDeleteIn(In):
    """`name` is typed again."""

    name: str = Field(max_length=48)
    remove_running: bool = False


class SourceIn(In):
    """A repository that is not registered yet."""

    repository_url: str = Field(max_length=2000)
    credential: CredentialIn | None = None


class TestIn(In):
    """Another credential than the stored one, to try it."""

    __test__ = False  # not a test class, whatever pytest thinks of its name

    credential: CredentialIn | None = None


class NamedCommit(Out):
    name: str
    commit: str


class SourceOut(Out):
    """What the repository shows."""

    branches: list[NamedCommit]
    tags: list[NamedCommit]
    default_branch: str


class EnvironmentOut(Out):
    name: str
    kind: str
    runtime: str
    container_port: int
    health_path: str
    entry_port: int
    url: str
    state: str
    state_text: str
    release_id: str | None
    release_number: int | None
    version: str
    by_hand: bool
    commit: str
    image: str
    image_id: str
    digest: str | None
    run_id: str | None
    run_number: int | None
    executor: str
    trigger: str
    container: str
    since_ms: int | None
    verdict: str


class RuleOut(Out):
    branches: list[str]
    tags: list[str]
    environments: list[str]
    supersede: bool


class ServiceOut(Out):
    id: str
    name: str
    description: str
    repository_url: str
    branch: str
    dockerfile: str
    context: str
    has_credential: bool
    sample: bool
    state: str
    state_environment: str
    state_text: str
    deployed_environment: str
    deployed_version: str
    deployed_by_hand: bool
    deployed_commit: str
    deployed_image: str
    deployed_digest: str | None
    deployed_url: str
    deployed_release_number: int | None
    deployed_run_number: int | None
    deployed_at_ms: int | None
    risk_state: str
    risk_critical: int
    risk_high: int
    risk_medium: int
    risk_low: int
    last_run_id: str | None
    last_run_number: int | None
    last_run_state: str | None
    last_run_at_ms: int | None
    registered_at_ms: int | None


class ServiceDetailOut(ServiceOut):
    environments: list[EnvironmentOut]
    rule: RuleOut | None


class RegisteredOut(Out):
    """`orders` are those of its environment and its rule."""

    service: str
    name: str
    orders: list[OutcomeOut]
    seen: bool


class DoneOut(Out):
    """Done; `seen` says that the read model shows it already."""

    seen: bool


# -- webhooks --------------------------------------------------------------------------------------------------------
class EndpointOut(Out):
    id: str
    service_id: str
    label: str
    provider: str
    path: str
    url: str = ""
    state: str
    changed_at_ms: int | None


class EndpointSecretOut(Out):
    """The secret, asked of its owner; kept nowhere here."""

    endpoint: str
    label: str
    path: str
    secret: str


class DeliveryOut(Out):
    """One row of the ledger; `verdict` in a word, `reason` in a sentence."""

    delivery: str
    endpoint: str
    received_at: str
    verdict: str
    code: str
    reason: str
    run_number: int | None
    ref: str
    commit: str


# -- runs and builds -------------------------------------------------------------------------------------------------
class BuildIn(In):
    """One of branch, tag and commit; none: the service's branch."""

    branch: str = Field("", max_length=255)
    tag: str = Field("", max_length=255)
    commit: str = Field("", max_length=64)
    version: str | None = Field(None, max_length=128)
    environments: list[str] | None = Field(None, max_length=50, description="null: those of the rule; []: build only")


class RunOut(Out):
    id: str
    service_id: str
    service_name: str
    number: int
    state: str
    state_text: str
    trigger: str
    executor: str
    cause: str
    ref: str
    branch: str
    tag: str
    commit: str
    author: str
    message: str
    version: str
    by_hand: bool
    image: str
    image_id: str
    verdict: str
    plan: list[str]
    environments: list[str]
    steps: dict[str, str]
    release_id: str | None
    ended_step: str | None
    code: str
    reason: str
    superseded_by_number: int | None
    cancelled_by: str
    born_at_ms: int
    started_at_ms: int | None
    deployed_at_ms: int | None
    finished_at_ms: int | None


class StepOut(Out):
    step: str
    environment: str
    state: str
    text: str
    code: str
    advice: str
    waits_for: str
    queued_at_ms: int | None
    started_at_ms: int | None
    ended_at_ms: int | None
    duration_ms: int | None
    stages_ms: dict[str, int]


class SegmentOut(Out):
    """One bar: work or wait. `counts_ms` is its part of the wall time, 0 beside the critical path."""

    kind: str
    step: str
    environment: str
    state: str
    text: str
    critical: bool
    started_ms: int
    ended_ms: int
    counts_ms: int
    took_ms: int
    median_ms: int | None


class TimelineOut(Out):
    """The sum of `counts_ms` is `wall_ms` = `worked_ms` + `waited_ms`; medians are of the last 20 runs that did the same."""

    began_ms: int
    ended_ms: int
    live: bool
    wall_ms: int
    worked_ms: int
    waited_ms: int
    deployed_after_ms: int | None
    compared_with: int
    median_wall_ms: int | None
    median_waited_ms: int | None
    median_deployed_after_ms: int | None
    segments: list[SegmentOut]


class DeployEventOut(Out):
    kind: str
    text: str
    step: int
    steps: int
    at_ms: int


class DeployOut(Out):
    id: str
    environment: str
    cause: str
    state: str
    text: str
    step: int
    steps: int
    verdict: str
    release_id: str | None
    release_number: int | None
    code: str
    reason: str
    advice: str
    still_serving: int | None
    requested_at_ms: int | None
    started_at_ms: int | None
    ended_at_ms: int | None
    events: list[DeployEventOut] = Field(default_factory=list)


class BuildOut(Out):
    id: str
    service_id: str
    run_id: str
    number: int
    state: str
    commit: str
    version: str
    by_hand: bool
    image: str
    image_id: str
    digest: str | None
    size_bytes: int | None
    steps: int
    steps_cached: int
    stages_ms: dict[str, int]
    duration_ms: int | None
    base_image: str
    log_lines: int
    waits_for: str
    stage: str
    code: str
    reason: str
    advice: str
    queued_at_ms: int | None
    started_at_ms: int | None
    ended_at_ms: int | None


class RunDetailOut(RunOut):
    trace_id: str | None = Field(description="Of the OpenTelemetry trace from the delivery on; none while no spans are collected")
    step_rows: list[StepOut]
    timeline: TimelineOut
    build: BuildOut | None
    deploys: list[DeployOut]


# -- findings and verdicts -------------------------------------------------------------------------------------------
class ScanOut(Out):
    area: str
    scan_id: str
    state: str
    reason: str
    code: str
    advice: str
    engines: list[dict[str, Any]]
    coverage: dict[str, int]
    counts: dict[str, int]
    findings_total: int
    data_date: str | None
    sample_data: bool
    duration_ms: int | None
    report: str | None
    commit: str
    image_id: str
    started_at_ms: int | None
    ended_at_ms: int | None


class FindingOut(Out):
    area: str
    finding_id: str
    rule: str
    severity: str
    title: str
    path: str
    line: int | None
    commit: str
    package: str
    installed: str
    fix: str
    confidence: str
    licence: str
    triage: str
    novelty: str
    first_number: int | None


class DecisionOut(Out):
    """`body` is the gate's whole message: areas, reasons, ways to pass, policy and input hash."""

    id: str
    service_id: str
    run_id: str
    number: int
    request_id: str | None
    environment: str
    environment_kind: str
    verdict: str
    sentence: str
    commit: str
    image_id: str
    duration_ms: int | None
    decided_at_ms: int | None
    body: dict[str, Any]


# -- releases --------------------------------------------------------------------------------------------------------
class DeployIn(In):
    """Put a release into its environment again, or into another one."""

    release: str = Field(max_length=80)
    environment: str = Field("", max_length=48)


class RollbackIn(In):
    """`release` null: the one before the one that runs."""

    environment: str = Field(max_length=48)
    release: str | None = Field(None, max_length=80)


class ReleaseOut(Out):
    id: str
    service_id: str
    environment: str
    number: int
    run_id: str
    run_number: int
    runtime: str
    state: str
    version: str
    by_hand: bool
    image: str
    image_id: str
    digest: str | None
    commit: str
    trigger: str
    executor: str
    before_id: str | None
    back_to_id: str | None
    back_to_number: int | None
    changes: list[str]
    came_back: list[str]
    verdict: str
    url: str
    container: str
    stages_ms: dict[str, int]
    settled_healthy: bool | None
    code: str
    reason: str
    advice: str
    planned_at_ms: int | None
    started_at_ms: int | None
    ready_at_ms: int | None
    retired_at_ms: int | None
    duration_ms: int | None


class PreviewOut(Out):
    """What a rollback would change, as lines of a diff, and whether it can be done."""

    release: str
    release_number: int
    from_number: int | None
    image_exists: bool
    target_reachable: bool
    lines: list[str]


# -- people and platform ---------------------------------------------------------------------------------------------
class MeOut(Out):
    name: str
    label: str
    organisation: str
    role: str
    via: str
    csrf: str = Field("", description="What a changing request of this session sends as X-CSRF-Token")


class SignInIn(In):
    name: str = Field(max_length=200)
    password: str = Field(max_length=1024, repr=False)


class PasswordIn(In):
    password: str = Field(min_length=12, max_length=1024, repr=False)


class TokenIn(In):
    """A token for a program. `days` null: it works until it is ended."""

    label: str = Field(max_length=80, description="What it is for")
    days: int | None = Field(90, ge=1, le=3650)


class TokenOut(Out):
    id: str
    label: str
    created_at_ms: int
    expires_at_ms: int | None


class NewTokenOut(Out):
    """`token` is shown this once."""

    id: str
    token: str
    expires_at_ms: int | None


class LinkOut(Out):
    """A one-time sign-in link."""

    path: str
    url: str
    expires_at_ms: int


class AuditOut(Out):
    id: str
    sequence: int
    service_id: str
    category: str
    action: str
    actor: str
    object: str
    outcome: str
    detail: str
    at_ms: int


class ChainOut(Out):
    """What checking the audit chain found: right rows in a row, and the first that is not."""

    rows: int
    broken_at: int | None
    reason: str


class DeadLetterOut(Out):
    """A message that the service `holder` could not handle, and why. `given_up_at_ms` is when it was set aside for good."""

    holder: str
    id: str
    type: str
    subject: str
    position: int
    run: str
    key: str
    attempts: int
    code: str
    error: str
    stored_at_ms: int
    given_up_at_ms: int


class DeadLetterWholeOut(DeadLetterOut):
    """With what came: headers and body as text, masked."""

    headers: dict[str, str]
    body: str


class DeadLettersOut(Out):
    """`silent` are services that did not answer: what they have is not here."""

    items: list[DeadLetterOut]
    total: int
    silent: list[str]


class AcceptedOut(Out):
    """What a service did: published `again` so many messages, or refused because it reads this stream already."""

    service: str
    again: int
    code: str
    reason: str


class StreamAcceptedOut(Out):
    items: list[AcceptedOut]


class ServiceStatus(Out):
    ready: bool
    failing: dict[str, str] = Field(default_factory=dict)


class StatusOut(Out):
    """`ready`: all services of this process are. `settled`: outboxes empty and everything heard, too."""

    ready: bool
    settled: bool
    url: str
    services: dict[str, ServiceStatus]
    runs_unfinished: int
    rss_mb: float
    pss_mb: float
