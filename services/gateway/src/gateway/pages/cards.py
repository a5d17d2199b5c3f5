"""Rows and cards of the catalogue's pages, made from the read model's rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

from gateway import labels, text
from gateway.contexts.catalogue import Activity, DashboardRow, Hit, LastRun, Need, Project, ServiceCard, Stage
from gateway.labels import State
from gateway.pages import heads

_STATE_WORDS = {
    "running": "healthy",
    "building": "building",
    "deploying": "deploying",
    "build_failed": "with a failed build",
    "blocked": "blocked",
    "deploy_failed": "with a failed deploy",
    "degraded": "not healthy",
    "stopped": "stopped",
    "unreachable": "not reachable",
    "registered": "new",
}


def summary(counts: Mapping[str, int]) -> str:
    """ "10 services: 7 healthy, 1 blocked, 2 new." """
    total = sum(counts.values())
    parts = [f"{counts[state]} {words}" for state, words in _STATE_WORDS.items() if counts.get(state)]
    return f"{text.count(total, 'service')}: {', '.join(parts)}." if parts else ""


def from_projects(services: int, projects: int) -> str:
    return f"{text.count(services, 'service')} from {text.count(projects, 'repository', 'repositories')}"


def last_run(row: Any) -> LastRun | None:
    """The newest run of a service row with `run_` columns."""
    if row.last_run_id is None:
        return None
    run = SimpleNamespace(
        state=row.last_run_state,
        steps=row.run_steps or {},
        ended_step=row.run_ended_step,
        verdict=row.run_verdict,
        trigger=row.run_trigger,
        deployed_at_ms=row.run_deployed_at_ms,
    )
    drawn, words = labels.pips(run.steps)
    return LastRun(
        row.last_run_number,
        f"/services/{row.name}/runs/{row.last_run_number}",
        labels.run_state(run),
        drawn,
        words,
        row.run_born_at_ms or row.last_run_at_ms,
    )


def risk_href(row: Any, number: int | None) -> str:
    return f"/services/{row.name}/runs/{number}/findings" if number else f"/services/{row.name}/runs"


def dashboard_row(row: Any, environments: Mapping[tuple[str, str], Any], runtimes: Mapping[str, Any]) -> DashboardRow:
    risk, risk_words = heads.risk(row)
    at = environments.get((row.id, row.deployed_environment))
    runtime = runtimes.get(at.runtime) if at is not None else None
    return DashboardRow(
        name=row.name,
        href=f"/services/{row.name}/runs",
        branch=row.run_branch or row.branch,
        sample=row.sample,
        state=heads.service_state(row),
        version=heads.deployed(row),
        deployed_at_ms=row.deployed_at_ms,
        commit=row.deployed_commit,
        environment=row.deployed_environment,
        runtime=(runtime.label if runtime is not None else at.runtime) if at is not None else "",
        risk=risk,
        risk_words=risk_words,
        risk_href=risk_href(row, row.last_run_number),
        last_run=last_run(row),
    )


def set_aside(letters: int) -> tuple[Need, ...]:
    """Messages that a service could not handle, as one thing that waits for a person."""
    if not letters:
        return ()
    subject = "1 message" if letters == 1 else f"{letters} messages"
    why = "What waits for such a message fails at its deadline."
    return (Need(State("warn", ""), subject, "/dead-letters", "could not be handled", why, (("Look at it", "/dead-letters"),)),)


def needs(rows: Sequence[Any]) -> tuple[Need, ...]:
    """What waits for a person, from the state of each service; what keeps people from their work first."""
    found: list[tuple[int, Need]] = []
    for row in rows:
        base, number = f"/services/{row.name}", row.last_run_number
        run = f"{base}/runs/{number}"
        why = row.run_reason or row.state_text or ""
        match row.state:
            case "degraded" | "unreachable":
                word = labels.of(labels.SERVICE, row.state).word.lower()
                what = f"is {word} in {row.state_environment or row.deployed_environment}"
                verbs = (("See what runs", f"{base}/deploy"), ("See the run", run))
                found.append((0, Need(State("bad", ""), row.name, f"{base}/deploy", what, row.state_text, verbs)))
            case "blocked":
                verbs = (("Read the verdict", f"{run}/gate"),)
                need = Need(State("bad", ""), f"{row.name} #{number}", run, "was blocked by the gate", why, verbs)
                found.append((1, need))
            case "deploy_failed":
                verbs = (("See the run", run),)
                need = Need(State("bad", ""), f"{row.name} #{number}", run, "could not be deployed", why, verbs)
                found.append((2, need))
            case "build_failed":
                verbs = (("Read the log", f"{base}/builds/{number}"), ("See the run", run))
                need = Need(State("bad", ""), f"{row.name} #{number}", run, "failed in the build", why, verbs)
                found.append((3, need))
    return tuple(need for _, need in sorted(found, key=lambda pair: pair[0]))[:8]


def activity(run: Any) -> Activity:
    return Activity(
        run.service_name,
        run.number,
        f"/services/{run.service_name}/runs/{run.number}",
        labels.run_state(run),
        run.finished_at_ms,
    )


# ---- services: cards per Git project --------------------------------------------------------------------------------
def project_of(address: str) -> tuple[str, str, str]:
    """Name, host and icon of a repository's address."""
    if "://" not in address and ":" in address and not address.startswith("/"):
        host, _, path = address.partition(":")  # git@host:team/shop.git
        host = host.rpartition("@")[2]
    else:
        parts = urlsplit(address)
        host, path = parts.hostname or "", parts.path
    path = path.strip("/").removesuffix(".git")
    if not host:
        return path.rpartition("/")[2] or address, "on this machine", "brand-git"
    icon = "brand-gitlab" if "gitlab" in host else "brand-github" if "github" in host else "git-branch"
    return path or host, host, icon


def projects(rows: Sequence[Any], builds: Mapping[str, Any], environments: Sequence[Any]) -> tuple[Project, ...]:
    by_repository: dict[str, list[Any]] = {}
    for row in rows:
        by_repository.setdefault(row.repository_url, []).append(row)
    by_service: dict[str, list[Any]] = {}
    for environment in environments:
        by_service.setdefault(environment.service_id, []).append(environment)
    found = []
    for address, members in by_repository.items():
        name, host, icon = project_of(address)
        branches = sorted({row.branch for row in members})
        found.append(
            Project(
                name=name,
                host=host,
                icon=icon,
                branches=text.listed(branches),
                note=f"{len(members)} services" if len(members) > 1 else "",
                services=tuple(card(row, builds.get(row.id), by_service.get(row.id, [])) for row in members),
            )
        )
    return tuple(found)


def card(row: Any, build: Any, environments: Sequence[Any]) -> ServiceCard:
    risk, risk_words = heads.risk(row)
    return ServiceCard(
        name=row.name,
        href=f"/services/{row.name}",
        version=heads.deployed(row),
        environment=row.deployed_environment,
        sample=row.sample,
        stages=(source(row), built(row, build), deployed(row, environments), operated(row, environments)),
        risk=risk,
        risk_words=risk_words,
        risk_href=risk_href(row, row.last_run_number),
        open_url=row.deployed_url,
    )


def source(row: Any) -> Stage:
    href = f"/services/{row.name}/source"
    if row.last_run_id is None:
        return Stage("Source", "off", "missing", "no push yet", href)
    state = (row.run_steps or {}).get("source", "")
    shape = {"failed": "bad", "running": "run"}.get(state, "ok")
    return Stage("Source", shape, shape, row.run_branch or row.branch, href, row.run_born_at_ms)


def built(row: Any, build: Any) -> Stage:
    href = f"/services/{row.name}/build"
    if build is None:
        return Stage("Build", "off", "missing", "not reached", href)
    log = f"/services/{row.name}/builds/{build.number}"
    match build.state:
        case "success":
            words = ", ".join(w for w in (text.took(build.duration_ms), text.size(build.size_bytes)) if w)
            return Stage("Build", "ok", "ok", words or "built", log)
        case "running":
            return Stage("Build", "run", "run", "building", log)
        case "queued":
            return Stage("Build", "wait", "wait", build.waits_for or "waits", log)
        case "failed":
            return Stage("Build", "bad", "bad", build.reason or "failed", log)
    return Stage("Build", "off", "stop", "cancelled", log)


def deployed(row: Any, environments: Sequence[Any]) -> Stage:
    href = f"/services/{row.name}/deploy"
    run = f"/services/{row.name}/runs/{row.last_run_number}"
    if row.last_run_state == "blocked":
        return Stage("Deploy", "bad", "bad", "blocked by the gate", f"{run}/gate")
    for environment in environments:
        if environment.state in ("deploying", "deploy_failed"):
            shape = "run" if environment.state == "deploying" else "bad"
            words = environment.state_text or labels.of(labels.ENVIRONMENT, environment.state).word.lower()
            return Stage("Deploy", shape, shape, words, href)
    if row.deployed_at_ms:
        back = row.run_trigger == "rollback" and row.last_run_state == "success"
        return Stage("Deploy", "ok", "back" if back else "ok", "rolled back" if back else "", href, row.deployed_at_ms)
    return Stage("Deploy", "off", "missing", "not reached", href)


def operated(row: Any, environments: Sequence[Any]) -> Stage:
    href = f"/services/{row.name}/deploy"
    serving = [e for e in environments if e.release_id]
    if not serving:
        return Stage("Operate", "off", "missing", "nothing runs", href)
    for environment in serving:
        if environment.state == "degraded":
            return Stage("Operate", "bad", "bad", environment.state_text or "not healthy", href)
    names = [e.name for e in serving]
    return Stage("Operate", "ok", "ok", f"{text.listed(names)}, healthy", href)


# ---- search ----------------------------------------------------------------------------------------------------------
def service_hit(row: Any) -> Hit:
    return Hit(row.name, f"/services/{row.name}/runs", heads.service_state(row), row.description or row.repository_url)


def run_hit(run: Any) -> Hit:
    where = ", ".join(w for w in (run.branch or run.tag, run.version) if w)
    return Hit(
        f"{run.service_name} #{run.number}",
        f"/services/{run.service_name}/runs/{run.number}",
        labels.run_state(run),
        f"{run.message}{' · ' if run.message and where else ''}{where}",
        run.born_at_ms,
        run.commit,
    )


def finding_hit(row: Any) -> Hit:
    where = f"{row.path}:{row.line}" if row.path and row.line else row.path or row.package
    return Hit(
        row.title,
        f"/services/{row.service_name}/runs/{row.run_number}/findings/{row.finding_id}",
        None,
        f"{row.severity.capitalize()}, {labels.AREA.get(row.area, row.area)} of {row.service_name}{': ' if where else ''}{where}",
    )
