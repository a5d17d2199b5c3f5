"""Dashboard, the services, one more service, search."""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.contexts.frame import Choice, Counts, Field, Frame, Version
from gateway.labels import State


@dataclass(frozen=True)
class LastRun:
    number: int
    href: str
    state: State
    pips: tuple[tuple[str, str], ...]
    pips_words: str
    at_ms: int | None


@dataclass(frozen=True)
class DashboardRow:
    name: str
    href: str
    branch: str
    sample: bool
    state: State
    version: Version | None
    deployed_at_ms: int | None
    commit: str
    environment: str
    runtime: str
    risk: Counts | None
    risk_words: str
    risk_href: str
    last_run: LastRun | None


@dataclass(frozen=True)
class Need:
    """What waits for a person: what, why, and one or two verbs (label, address)."""

    state: State
    subject: str
    href: str
    what: str
    why: str
    verbs: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class DashboardPage:
    frame: Frame
    summary: str
    show: tuple[Choice, ...]
    rows: tuple[DashboardRow, ...]
    total: int
    needs: tuple[Need, ...]
    activity: tuple[Activity, ...]


@dataclass(frozen=True)
class Activity:
    """A run that ended lately, as one line."""

    service: str
    number: int
    href: str
    state: State
    at_ms: int


@dataclass(frozen=True)
class Stage:
    """One of the four stages of a service. `tone` is its class; `why` the line below its name."""

    name: str
    tone: str
    shape: str
    why: str
    href: str
    at_ms: int | None = None


@dataclass(frozen=True)
class ServiceCard:
    name: str
    href: str
    version: Version | None
    environment: str
    sample: bool
    stages: tuple[Stage, ...]
    risk: Counts | None
    risk_words: str
    risk_href: str
    open_url: str


@dataclass(frozen=True)
class Project:
    """A Git project and the services made from it."""

    name: str
    host: str
    icon: str
    branches: str
    note: str
    services: tuple[ServiceCard, ...]


@dataclass(frozen=True)
class ServicesPage:
    frame: Frame
    summary: str
    show: tuple[Choice, ...]
    projects: tuple[Project, ...]
    shown: int
    total: int
    filter: str
    more: str = ""
    any: bool = True
    runtime: str = ""


@dataclass(frozen=True)
class Connection:
    """What a test of a repository showed: not tested (state None), works, or does not and why."""

    state: State | None = None
    advice: str = ""
    code: str = ""
    branches: tuple[str, ...] = ()
    default_branch: str = ""


@dataclass(frozen=True)
class AddServicePage:
    frame: Frame
    fields: dict[str, Field]
    connection: Connection = field(default_factory=Connection)
    problem: str = ""
    problem_advice: str = ""
    problem_code: str = ""

    def value(self, name: str) -> str:
        return self.fields[name].value

    def error(self, name: str) -> str:
        return self.fields[name].error


@dataclass(frozen=True)
class Hit:
    title: str
    href: str
    state: State | None
    text: str
    at_ms: int | None = None
    mono: str = ""


@dataclass(frozen=True)
class SearchPage:
    frame: Frame
    services: tuple[Hit, ...]
    runs: tuple[Hit, ...]
    findings: tuple[Hit, ...]
