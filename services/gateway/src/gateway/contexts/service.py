"""One service: its head and tabs, Source, Build with the log, Deploy with the way back."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.contexts.catalogue import Connection
from gateway.contexts.frame import Choice, Field, Frame, Pager, Version
from gateway.labels import State


@dataclass(frozen=True)
class Header:
    """The head of every page of a service."""

    id: str
    name: str
    description: str
    state: State
    sample: bool
    version: Version | None
    environment: str
    commit: str
    since_ms: int | None
    url: str
    runs: int
    broken: bool
    moving: bool

    @property
    def href(self) -> str:
        return f"/services/{self.name}"


@dataclass(frozen=True)
class Endpoint:
    id: str
    label: str
    url: str
    state: State
    secret_href: str


@dataclass(frozen=True)
class Delivery:
    at_ms: int
    state: State
    run_number: int | None
    run_href: str
    ref: str
    commit: str
    id: str
    code: str
    endpoint: str


@dataclass(frozen=True)
class SourcePage:
    frame: Frame
    service: Header
    repository_url: str
    repository_link: str
    branch: str
    dockerfile: str
    context: str
    has_credential: bool
    rule: str
    connection: Connection
    endpoints: tuple[Endpoint, ...]
    deliveries: tuple[Delivery, ...]
    deliveries_problem: str = ""


@dataclass(frozen=True)
class SecretPart:
    """The secret of an endpoint, shown because somebody asked for it."""

    frame: Frame
    endpoint: Endpoint
    secret: str
    problem: str = ""


@dataclass(frozen=True)
class ConnectionPart:
    """The result of a test, beside the button that asked for it. `choose` brings a branch list for the form."""

    frame: Frame
    connection: Connection
    branch: Field


@dataclass(frozen=True)
class BuildStage:
    key: str
    name: str
    state: State
    tone: str
    percent: int
    meta: str


@dataclass(frozen=True)
class BuildRow:
    number: int
    href: str
    log_href: str
    state: State
    version: Version | None
    commit: str
    branch: str
    message: str
    cause: str
    who: str
    at_ms: int | None
    took_ms: int | None
    size: str
    cached: str


@dataclass(frozen=True)
class RunningBuild:
    row: BuildRow
    stages: tuple[BuildStage, ...]
    cancel_href: str
    waits_for: str


@dataclass(frozen=True)
class BuildPage:
    frame: Frame
    service: Header
    refs: tuple[str, ...]
    ref_kind: Field
    ref: Field
    version: Field
    running: tuple[RunningBuild, ...]
    rows: tuple[BuildRow, ...]
    pager: Pager
    statistics: str
    problem: str = ""
    problem_advice: str = ""
    problem_code: str = ""


@dataclass(frozen=True)
class LogLine:
    number: int
    at: str
    text: str
    tone: str


@dataclass(frozen=True)
class LogStage:
    key: str
    name: str
    state: State
    meta: str
    took: str
    open: bool
    lines: tuple[LogLine, ...]
    first: int = 0
    last: int = 0


@dataclass(frozen=True)
class LogPage:
    """The log of a build. `live` is the address of its stream, empty when it has ended; `next_line` where the stream goes on."""

    frame: Frame
    service: Header
    build: BuildRow
    stages: tuple[BuildStage, ...]
    log: tuple[LogStage, ...]
    lines: int
    errors: tuple[int, ...]
    live: str
    next_line: int
    download: str
    cancel_href: str
    reason: str = ""
    advice: str = ""
    code: str = ""
    problem: str = ""
    earlier: str = ""
    cause: str = ""


@dataclass(frozen=True)
class EnvironmentPanel:
    name: str
    kind: str
    state: State
    version: Version | None
    release: int | None
    since_ms: int | None
    by: str
    commit: str
    runs_on: str
    url: str
    gate: State | None
    gate_href: str
    back_href: str
    back_label: str
    broken: bool
    progress: str = ""
    percent: int | None = None
    run_href: str = ""


@dataclass(frozen=True)
class ReleaseRow:
    number: int
    version: Version
    state: State
    served: str
    image: str
    image_short: str
    cause: str
    who: str
    at_ms: int | None
    took_ms: int | None
    run_number: int
    run_href: str
    back_href: str
    back_to: int | None
    note: str = ""


@dataclass(frozen=True)
class DeployPage:
    frame: Frame
    service: Header
    environments: tuple[EnvironmentPanel, ...]
    chosen: str
    choices: tuple[Choice, ...]
    history: tuple[ReleaseRow, ...]
    pager: Pager | None


@dataclass(frozen=True)
class DiffPart:
    title: str
    note: str
    lines: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class RollbackPage:
    """What comes back when an environment returns to a release. `refused` says why it cannot be done now."""

    frame: Frame
    service: Header
    environment: str
    release: str
    version: Version
    now: Version | None
    served: str
    diff: tuple[DiffPart, ...]
    about: str
    refused: str = ""
    advice: str = ""
    code: str = ""
