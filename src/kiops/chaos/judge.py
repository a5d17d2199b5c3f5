"""What came of it: the sender's acknowledgements against the runs that the API lists and the file that the children wrote."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from kiops.chaos.city import ENDED, City
from kiops.chaos.stamps import Effect

OPEN = {
    "unsent messages": "select count(*) from outbox where not sent",
    "open jobs": "select count(*) from job where state <> 'ended'",
    "parked messages": "select count(*) from parked",
    "dead letters": "select count(*) from dead_letter",
}


@dataclass
class Outcome:
    """The figures; all but the first four are 0 when nothing is wrong. `wrong` says what is, a sentence each."""

    acked: int = 0
    runs: int = 0
    kills: int = 0
    succeeded: int = 0
    lost: int = 0
    doubled: int = 0
    out_of_order: int = 0
    stuck: int = 0
    leftovers: int = 0
    wrong: list[str] = field(default_factory=list)

    @property
    def well(self) -> bool:
        return not (self.lost or self.doubled or self.out_of_order or self.stuck or self.leftovers)

    def figures(self) -> dict[str, int]:
        return {name: value for name, value in vars(self).items() if name != "wrong"}

    def note(self, figure: str, sentence: str, number: int = 1) -> None:
        setattr(self, figure, getattr(self, figure) + number)
        if len(self.wrong) < 50:
            self.wrong.append(f"{figure}: {sentence}")


async def until_ended(city: City, expected: int, say: Callable[[str], None], patience_seconds: float = 120) -> None:
    """Wait until all runs have ended, or nothing has moved for so long."""
    moved, before = time.monotonic(), None
    told = 0.0
    open_states = ["pending", "running", "held", "other"]
    while True:
        open_runs = (await city.api("GET", "/runs", params={"state": open_states, "limit": 200})).json()["items"]
        city.stamps.look()
        known = city.stamps.placed
        if not open_runs and len(await city.runs()) >= expected:
            return
        state = (len(open_runs), known, len(city.stamps.effects), Counter(str(run["state"]) for run in open_runs))
        if state != before:
            moved, before = time.monotonic(), state
        if time.monotonic() - moved > patience_seconds:
            return
        if time.monotonic() - told > 10:
            told = time.monotonic()
            say(f"{known} deployed, {len(open_runs) if len(open_runs) < 200 else 'at least 200'} runs have not ended")
        await asyncio.sleep(0.5)


async def until_quiet(city: City, seconds: float = 60) -> dict[str, dict[str, int]]:
    """Wait until outboxes are empty, jobs have ended and nothing is parked; returns what is left after the time."""
    end = time.monotonic() + seconds
    while True:
        left = await asyncio.to_thread(city.counts, OPEN)
        if not left or time.monotonic() > end:
            return left
        await asyncio.sleep(0.5)


def judge(acked: dict[str, tuple[str, int]], runs: Iterable[dict[str, Any]], effects: dict[tuple[str, str], Effect]) -> Outcome:
    """`acked`: commit -> (service, number); `runs` as the API lists them; `effects`: (what, run) -> what the children wrote."""
    outcome = Outcome(acked=len(acked))
    found: Counter[str] = Counter()
    names: dict[str, tuple[str, int]] = {}
    for run in runs:
        outcome.runs += 1
        title = f"{run['service_name']} #{run['number']}"
        names[run["id"]] = (run["service_name"], run["number"])
        found[run["commit"]] += 1
        if acked.get(run["commit"]) != names[run["id"]]:
            outcome.note("doubled", f"{title} is a run of no acknowledged push")
        if run["state"] not in ENDED:
            outcome.note("stuck", f"{title} is {run['state']}")
        if run["state"] != "success":
            outcome.wrong.append(f"{title} is {run['state']} {run.get('reason') or ''}")
            continue
        outcome.succeeded += 1
        for what in ("build", "scan-source", "scan-image", "deploy"):
            effect = effects.get((what, run["id"]))
            if effect is None or effect.ended < 0:
                outcome.note("lost", f"{title} succeeded without {what}")
    for commit, (service, number) in acked.items():
        if not found[commit]:
            outcome.note("lost", f"{service} #{number} was acknowledged and has no run")
        elif found[commit] > 1:
            outcome.note("doubled", f"{service} #{number} has {found[commit]} runs", found[commit] - 1)
    _judge_effects(outcome, effects, names)
    return outcome


def _judge_effects(outcome: Outcome, effects: dict[tuple[str, str], Effect], names: dict[str, tuple[str, int]]) -> None:
    placed: dict[str, list[tuple[int, int]]] = {}
    for (what, run), effect in effects.items():
        service, number = names.get(run, ("", 0))
        if not service:
            outcome.note("doubled", f"{what} was done for {run}, which is no run")
            continue
        # A newer attempt may begin; an older one may not begin after it, and none twice.
        for before, after in pairwise(effect.begun):
            if after <= before:
                outcome.note("doubled", f"{what} of {service} #{number} began under the tokens {effect.begun}")
        if what == "deploy" and effect.ended >= 0:
            placed.setdefault(service, []).append((effect.ended, number))
    for service, rows in placed.items():
        order = [number for _, number in sorted(rows)]
        for before, after in pairwise(order):
            if after < before:
                outcome.note("out_of_order", f"{service} #{after} was deployed after #{before}")
