"""Runs: born, heard of, superseded, cancelled, ended. Here and nowhere else."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from shared.clock import Clock
from shared.database import Database, Tx
from shared.facts.webhook import PushReceived, RunCancelled, RunFinished, RunStarted, RunSuperseded
from shared.words import RunState, Step, StepState, Trigger

from shared import ids
from webhook import store
from webhook.domain.rules import COMMIT, VERSION
from webhook.domain.runs import Outcome, Patience, plan_of_release, plan_with_source, supersede
from webhook.errors import RunRefused
from webhook.settings import WebhookSettings

HEARTBEAT_MS = 10_000


@dataclass(frozen=True)
class Birth:
    """What a run begins with. `release` makes it a run without source."""

    trigger: Trigger
    executor: str
    cause: str
    environments: tuple[str, ...]
    ref: str = ""
    branch: str = ""
    tag: str = ""
    commit: str = ""
    before: str = ""
    author: str = ""
    message: str = ""
    version: str | None = None
    delivery: str | None = None
    provider: str = ""
    changed_paths: tuple[str, ...] = ()
    changed_count: int | None = None
    rule: str = ""
    release: str | None = None


@dataclass(frozen=True)
class Born:
    """A run that was just born."""

    id: str
    number: int


@dataclass(frozen=True)
class Report:
    """One thing heard of a run: what state a part of a step is in. WAITING is only a sign of life."""

    step: Step
    part: str
    state: StepState
    code: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Asked:
    """A person's wish for a run."""

    organisation: str
    service: str
    executor: str
    trigger: Trigger
    branch: str = ""
    tag: str = ""
    commit: str = ""
    author: str = ""
    message: str = ""
    version: str | None = None
    environments: tuple[str, ...] | None = None
    release: str | None = None
    release_number: int | None = None


class Runs:
    """The life of every run."""

    def __init__(self, database: Database, clock: Clock, settings: WebhookSettings) -> None:
        self._database, self._clock = database, clock
        self._patience = Patience(
            build=settings.build_silent_seconds,
            scan=settings.scan_silent_seconds,
            gate=settings.gate_silent_seconds,
            deploy=settings.deploy_silent_seconds,
        )
        self._deadline_ms = settings.run_deadline_seconds * 1000

    # -- birth -------------------------------------------------------------------------------------------------------
    async def bear(self, tx: Tx, service: store.Service, birth: Birth, run_id: str | None = None) -> Born:
        """Make a run with the service's next number, announce it, and supersede what it makes needless.

        Raises RunRefused when the service has left the catalogue meanwhile.
        """
        run = run_id or ids.new("run")
        number = await store.next_number(tx, service.id)
        if number is None:
            raise RunRefused("service.unknown", "there is no such service", "It may have been deleted.")
        plan = plan_of_release() if birth.release else plan_with_source(birth.environments)
        now = self._clock.now_ms()
        newer: store.Sibling | None = None
        if birth.branch and birth.trigger is Trigger.WEBHOOK and service.rule.supersede:
            weighed = supersede(birth.before, birth.commit, await store.siblings(tx, service.id, birth.ref))
            newer = weighed.newer
            for older in weighed.older:
                await self._supersede(tx, service.organisation, older.id, by_run=run, by_number=number)
        await store.put_run(
            tx,
            {
                "id": run,
                "organisation_id": service.organisation,
                "service_id": service.id,
                "number": number,
                "state": RunState.PENDING.value,
                "began_by": birth.trigger.value,
                "executor": birth.executor,
                "cause": birth.cause,
                "ref": birth.ref,
                "before_id": birth.before,
                "commit_id": birth.commit,
                "plan": [step.value for step in plan],
                "environments": list(birth.environments),
                "version": birth.version,
                "release_id": birth.release,
                "delivery_id": birth.delivery,
                "switching": False,
                "born_at_ms": now,
                "heard_at_ms": 0,
            },
        )
        await tx.put(self._announcement(service, birth, run, number, plan), correlation=run)
        if newer is not None:
            await self._supersede(tx, service.organisation, run, by_run=newer.id, by_number=newer.number)
        return Born(run, number)

    def _announcement(
        self, service: store.Service, birth: Birth, run: str, number: int, plan: list[Step]
    ) -> PushReceived | RunStarted:
        common = {
            "organisation": service.organisation,
            "service": service.id,
            "run": run,
            "number": number,
            "service_name": service.name,
            "trigger": birth.trigger,
            "executor": birth.executor,
            "cause": birth.cause,
            "ref": birth.ref,
            "branch": birth.branch,
            "tag": birth.tag,
            "commit": birth.commit,
            "author": birth.author,
            "message": birth.message,
            "plan": [step.value for step in plan],
            "environments": list(birth.environments),
            "version": birth.version,
            "delivery": birth.delivery,
        }
        if birth.release:
            return RunStarted(**common, release=birth.release)
        return PushReceived(
            **common,
            provider=birth.provider,
            repository_url=service.repository_url,
            credential=service.credential,
            dockerfile=service.dockerfile,
            context=service.context,
            changed_paths=list(birth.changed_paths),
            changed_count=birth.changed_count,
            rule=birth.rule,
            sample=service.sample,
        )

    async def start(self, tx: Tx, asked: Asked) -> Born:
        """Begin a run that a person asked for. Raises RunRefused."""
        service = await store.service(tx, asked.organisation, asked.service)
        if service is None:
            raise RunRefused("service.unknown", "there is no such service", "It may have been deleted.")
        if asked.release:
            return await self._start_release(tx, service, asked)
        if not COMMIT.match(asked.commit):
            raise RunRefused(
                "run.commit_missing",
                "a build by hand needs a commit: 40 or 64 hexadecimal digits",
                "Choose a branch, tag or commit that the repository has.",
            )
        if asked.version is not None:
            await self._check_version(tx, service, asked.version, asked.commit)
        environments = service.rule.environments if asked.environments is None else asked.environments
        where = f"branch {asked.branch}" if asked.branch else f"tag {asked.tag}" if asked.tag else ""
        ref = f"refs/heads/{asked.branch}" if asked.branch else f"refs/tags/{asked.tag}" if asked.tag else ""
        return await self.bear(
            tx,
            service,
            Birth(
                trigger=asked.trigger,
                executor=asked.executor,
                cause=f"started by {asked.executor} for {where or 'commit ' + asked.commit[:7]}",
                environments=tuple(dict.fromkeys(environments)),
                ref=ref,
                branch=asked.branch,
                tag=asked.tag,
                commit=asked.commit,
                author=asked.author,
                message=asked.message,
                version=asked.version,
            ),
        )

    async def _start_release(self, tx: Tx, service: store.Service, asked: Asked) -> Born:
        if not asked.environments:
            raise RunRefused("run.environment_missing", "a release goes to an environment, and none was named", "Name one.")
        what = f"release {asked.release_number}" if asked.release_number else "a release"
        verb = "rollback to" if asked.trigger is Trigger.ROLLBACK else "deploy of"
        return await self.bear(
            tx,
            service,
            Birth(
                trigger=asked.trigger,
                executor=asked.executor,
                cause=f"{verb} {what} by {asked.executor}",
                environments=tuple(dict.fromkeys(asked.environments)),
                branch=asked.branch,
                tag=asked.tag,
                commit=asked.commit,
                author=asked.author,
                message=asked.message,
                version=asked.version,
                release=asked.release,
            ),
        )

    async def _check_version(self, tx: Tx, service: store.Service, version: str, commit: str) -> None:
        if not VERSION.match(version):
            raise RunRefused(
                "run.version_wrong",
                f"{version[:80]!r} is no version",
                "Letters, digits, point, dash and underscore; not beginning with point or dash; at most 128.",
            )
        taken = await store.version_elsewhere(tx, service.id, version, commit)
        if taken is not None:
            raise RunRefused(
                "run.version_taken", f"run #{taken} has version {version} for another commit", "Choose another version."
            )

    # -- what is heard -----------------------------------------------------------------------------------------------
    async def hear(self, tx: Tx, organisation: str, run_id: str, reports: Iterable[Report], *, switching: bool = False) -> None:
        """Note what was heard of a run, and end it when that was the last of it."""
        stored = await store.load_run(tx, organisation, run_id)
        if stored is None or stored.run.over:
            return
        run, now = stored.run, self._clock.now_ms()
        was = (run.state, run.switching, run.heard_at_ms)
        run.switching = run.switching or switching
        for report in reports:
            run.hear(report.step, report.part, report.state, at_ms=now, code=report.code, reason=report.reason)
        outcome = run.outcome()
        if outcome:
            await self._finish(tx, organisation, stored, outcome)
        elif run.changed or (run.state, run.switching) != was[:2] or run.heard_at_ms - was[2] >= HEARTBEAT_MS:
            await store.save_run(tx, organisation, run, now_ms=now)

    async def _finish(self, tx: Tx, organisation: str, stored: store.StoredRun, outcome: Outcome) -> None:
        run = stored.run
        run.end(outcome)
        await store.save_run(tx, organisation, run, now_ms=self._clock.now_ms(), outcome=outcome)
        await tx.put(
            RunFinished(
                organisation=organisation,
                service=stored.service_id,
                run=run.id,
                number=run.number,
                outcome=outcome.state,
                step=outcome.step.value if outcome.step else None,
                code=outcome.code,
                reason=outcome.reason[:2000],
            ),
            correlation=run.id,
        )

    # -- ends that somebody decides ----------------------------------------------------------------------------------
    async def _supersede(self, tx: Tx, organisation: str, run_id: str, *, by_run: str, by_number: int) -> None:
        stored = await store.load_run(tx, organisation, run_id)
        if stored is None or stored.run.over or stored.run.switching:
            return
        run = stored.run
        await tx.put(
            RunSuperseded(
                organisation=organisation,
                service=stored.service_id,
                run=run.id,
                number=run.number,
                by_run=by_run,
                by_number=by_number,
            ),
            correlation=run.id,
        )
        outcome = Outcome(RunState.SUPERSEDED, code="run.superseded", reason=f"superseded by #{by_number}")
        await self._finish(tx, organisation, stored, outcome)

    async def cancel(self, tx: Tx, organisation: str, run_id: str, by: str) -> Born:
        """Stop a run. Raises RunRefused when there is nothing left to stop."""
        stored = await store.load_run(tx, organisation, run_id)
        if stored is None:
            raise RunRefused("run.unknown", "there is no such run", "Reload the page.")
        run = stored.run
        if run.over:
            raise RunRefused("run.over", f"run #{run.number} has ended already: {run.state.value}", "")
        if run.serves_everywhere():
            raise RunRefused(
                "run.already_serves",
                f"what run #{run.number} made serves already; only the watch after the switch goes on",
                "Roll back to the release before it instead.",
            )
        await self._cancel(tx, organisation, stored, by)
        return Born(run.id, run.number)

    async def _cancel(self, tx: Tx, organisation: str, stored: store.StoredRun, by: str) -> None:
        run = stored.run
        await tx.put(
            RunCancelled(organisation=organisation, service=stored.service_id, run=run.id, number=run.number, by=by),
            correlation=run.id,
        )
        outcome = Outcome(RunState.CANCELLED, code="run.cancelled", reason=f"cancelled by {by}")
        await self._finish(tx, organisation, stored, outcome)

    async def cancel_all(self, tx: Tx, organisation: str, service_id: str, by: str) -> None:
        """Stop every open run of a service that is deleted."""
        for row in await store.open_runs(tx, organisation=organisation, service_id=service_id):
            stored = await store.load_run(tx, organisation, row.id)
            if stored is not None and not stored.run.over:
                await self._cancel(tx, organisation, stored, by)

    # -- what nobody ends --------------------------------------------------------------------------------------------
    async def reap(self) -> int:
        """Fail runs past their deadline and steps of which nothing is heard. Returns how many runs it touched."""
        now = self._clock.now_ms()
        shortest = min(self._patience.build, self._patience.scan, self._patience.gate, self._patience.deploy) * 1000
        async with self._database.read() as tx:
            rows = await store.open_runs(tx)
        touched = 0
        for row in rows:
            late = self._clock.age_ms(row.born_at_ms) > self._deadline_ms
            if late or self._quiet_ms(row) > shortest:
                async with self._database.write() as tx:
                    touched += await self._reap_one(tx, row.organisation_id, row.id, now)
        return touched

    def _quiet_ms(self, run: Any) -> int:
        """How long nothing was heard of a run, or of its row."""
        return self._clock.age_ms(max(run.heard_at_ms, run.born_at_ms))

    async def _reap_one(self, tx: Tx, organisation: str, run_id: str, now: int) -> int:
        stored = await store.load_run(tx, organisation, run_id)
        if stored is None or stored.run.over:
            return 0
        run = stored.run
        if self._clock.age_ms(run.born_at_ms) > self._deadline_ms:
            hours = self._deadline_ms / 3_600_000
            waits = sorted({step.value for (step, _), part in run.parts.items() if not part.ended})
            step = next((step for step in run.plan if step.value in waits), None)
            outcome = Outcome(RunState.FAILED, step, "run.deadline", f"not over after {hours:g} h; still open: {', '.join(waits)}")
            await self._finish(tx, organisation, stored, outcome)
            return 1
        if not run.fail_silent(self._patience, quiet_ms=self._quiet_ms(run)):
            return 0
        outcome_now = run.outcome()
        if outcome_now:
            await self._finish(tx, organisation, stored, outcome_now)
        else:
            await store.save_run(tx, organisation, run, now_ms=now)
        return 1
