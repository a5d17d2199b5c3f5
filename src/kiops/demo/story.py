"""The story: three pushes and a rollback. Every figure in it was measured while it was told."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kiops.demo import ENVIRONMENT, SERVICE, sentences
from kiops.demo.api import Api, one_line
from kiops.demo.engine import Engine
from kiops.demo.repository import BRANCH, Pushed, Repository
from kiops.demo.telling import Teller, count, took
from kiops.demo.visitor import Asking, Visitor
from kiops.sample import base, files

RUN_SECONDS = 900
OBSERVE_SECONDS = 10
ENDED = {"success", "failed", "blocked", "cancelled", "superseded"}
STEP_ENDED = {"success", "warning", "failed", "blocked", "skipped", "cancelled"}


class NotAsItMustBe(Exception):
    """The story went otherwise than it must; says how."""

    def __init__(self, what: str, *, advice: str = "", code: str = "demo.not_as_it_must_be") -> None:
        super().__init__(what)
        self.advice, self.code = advice, code


@dataclass(frozen=True)
class Served:
    """What the sample answered once it was deployed: where, what, as which release, how long after the push (ms)."""

    url: str
    body: bytes
    release: str
    release_number: int
    commit: str
    after_ms: float

    @property
    def first_line(self) -> str:
        return self.body.decode("utf-8", "replace").splitlines()[0]


async def run_demo(api: Api, root: Path, teller: Teller, engine: Engine) -> None:
    """Tell the whole story. Raises NotAsItMustBe, Refused, RepositoryError, EngineError, CannotAssemble."""
    story = Story(api, Repository(root / "demo"), teller, engine)
    teller.title("The journey of a push, with a sample service")
    await story.prepare()
    await story.register()
    first = await story.first_push()
    visitor = Visitor(first.url)
    visitor.start()
    try:
        await story.planted_secret(first, visitor)
        third = await story.mended(first, visitor)
        await story.back(first, third, visitor)
    finally:
        await visitor.stop()
    teller.screen.say()
    teller.screen.say("Everything is in the browser.")


class Story:
    """The chapters, in their order."""

    def __init__(self, api: Api, repository: Repository, teller: Teller, engine: Engine) -> None:
        self.api, self.repository, self.teller, self.engine = api, repository, teller, engine
        self.base_image = ""
        self.wheel: Path | None = None
        self._pushed_at = 0.0

    # -- before the first push -----------------------------------------------------------------------------------------
    async def prepare(self) -> None:
        """A base image, one dependency, an empty repository."""
        # Asked first, so that an API that refuses us is told before anything is made.
        await self.api.find(f"/services/{SERVICE}")
        folder = self.repository.folder
        began = time.monotonic()
        async with self.teller.waiting("base image"):
            found = await asyncio.to_thread(base.base_image, self.engine, folder=folder)
            self.wheel = await asyncio.to_thread(base.find_wheel, folder / "wheels")
        self.base_image = found.image
        self.teller.step("base", found.note, took((time.monotonic() - began) * 1000))
        if self.wheel is None:
            self.teller.more("no package registry answers: the sample uses the standard library alone")
        await asyncio.to_thread(self.repository.prepare)

    async def register(self) -> None:
        """The service with its environment and rule, and the hook with the endpoint's secret."""
        environment = {
            "name": ENVIRONMENT,
            "kind": "not_production",
            "container_port": 8080,
            "health_path": "/healthz",
            "own_port": True,
            "observe_seconds": OBSERVE_SECONDS,
        }
        rule = {"branches": [BRANCH], "tags": [], "environments": [ENVIRONMENT], "supersede": True}
        known = await self.api.find(f"/services/{SERVICE}")
        if known is None:
            body = {
                "name": SERVICE,
                "description": "The sample service of the demo",
                "repository_url": str(self.repository.bare),
                "branch": BRANCH,
                "sample": True,
                "environment": environment,
                "rule": rule,
            }
            await self.api.post("/services", body)
        else:
            await self.api.post(f"/services/{SERVICE}/environments", environment)
            await self.api.put(f"/services/{SERVICE}/rule", rule)
        endpoint = await self._until(self._endpoint, "the service's webhook endpoint")
        detail = await self._until(self._ready_service, "the service's environment and rule")
        secret = await self.api.post(f"/endpoints/{endpoint['id']}/secret")
        await asyncio.to_thread(self.repository.install_hook, self.api.url + secret["path"], secret["secret"])
        (self.repository.folder / "state.json").write_text(json.dumps({"service": detail["id"]}))
        self.teller.done(f"{'registered' if known is None else 'found'} {SERVICE} from {short(self.repository.bare)}")

    async def _endpoint(self) -> Any:
        rows = (await self.api.get(f"/services/{SERVICE}/endpoints"))["items"]
        return next((row for row in rows if row["provider"] == "generic"), None)

    async def _ready_service(self) -> Any:
        found = await self.api.get(f"/services/{SERVICE}")
        names = [each["name"] for each in found["environments"]]
        return found if ENVIRONMENT in names and ENVIRONMENT in (found["rule"] or {}).get("environments", []) else None

    async def _until(self, ask: Any, what: str, seconds: float = 30) -> Any:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if found := await ask():
                return found
            await asyncio.sleep(0.1)
        raise NotAsItMustBe(f"{what} did not come within {seconds:.0f} s", advice="kiops status; kiops doctor", code="demo.waited")

    # -- pushes --------------------------------------------------------------------------------------------------------
    async def _push(self, number: int, version: files.Version, *, amend: bool = False, force: bool = False) -> Pushed:
        how = {"base_image": self.base_image, "wheel": self.wheel, "amend": amend}
        commit = await asyncio.to_thread(self.repository.commit, version, **how)
        self._pushed_at = time.monotonic()
        pushed = await asyncio.to_thread(self.repository.push, commit, force=force)
        self.teller.title(f'Push {number}  "{version.message}"', f"run #{pushed.number}")
        self.teller.done(f"delivery signed, stored, run #{pushed.number}", took(pushed.took_ms))
        return pushed

    async def first_push(self) -> Served:
        """The plain greeting goes the whole road."""
        # Forced, since a demo told again begins with a history of its own.
        pushed = await self._push(1, files.FIRST, force=True)
        detail = await self._watch(pushed.run, "success")
        served = await self._served(detail)
        self.teller.so(f"{served.url}   {served.first_line}", f"{took(served.after_ms)} after the push")
        return served

    async def planted_secret(self, first: Served, visitor: Visitor) -> None:
        """A key in the source: the gate blocks, and the old version keeps serving."""
        pushed = await self._push(2, files.SECOND)
        detail = await self._watch(pushed.run, "blocked")
        planted = await asyncio.to_thread(self.repository.line_of_key)
        found = (await self.api.get(f"/runs/{pushed.run}/findings", area="secrets"))["items"]
        places = {f"{each['path']}:{each['line']}" for each in found}
        must(planted in places, f"the planted key at {planted} was not found; found: {sorted(places) or 'nothing'}")
        shown = json.dumps([detail, found, await self.api.get(f"/runs/{pushed.run}/decisions")])
        key = (self.repository.work / planted.split(":")[0]).read_text().split('ACCESS_KEY = "')[1].split('"')[0]
        must(key not in shown, "the planted key can be read in the API's answers")
        must(set(visitor.bodies) == {first.body}, "something else than the first release answered")
        self._nothing_failed(visitor)
        self.teller.so(f"{first.commit[:7]} keeps serving ({count(visitor.asked, 'request')} so far, 0 failed)")

    async def mended(self, first: Served, visitor: Visitor) -> Served:
        """The commit amended without the key, and pushed with force."""
        pushed = await self._push(3, files.THIRD, amend=True, force=True)
        detail = await self._watch(pushed.run, "success")
        served = await self._served(detail)
        must(served.body != first.body, "the third push is deployed, and the first release's answer is still served")
        self._nothing_failed(visitor)
        lines = len(served.body.splitlines())
        self.teller.so(f"{served.first_line} ... {count(lines, 'line')}", f"{took(served.after_ms)} after the push")
        return served

    async def back(self, first: Served, third: Served, visitor: Visitor) -> None:
        """Back to the first release, byte for byte."""
        self.teller.title(f"Roll back to release {first.release_number}")
        where = {"environment": ENVIRONMENT, "release": first.release}
        preview = await self.api.get(f"/services/{SERVICE}/rollback", **where)
        must(preview["image_exists"], "the first release's image is gone")
        must(preview["target_reachable"], "the runtime does not answer")
        self.teller.done("image there, target reachable")
        for line in preview["lines"]:
            self.teller.more(line)
        asked = await self.api.post(f"/services/{SERVICE}/rollback", where)
        run = await self._run_of(asked)
        detail = await self._watch(run, "success")
        again = await self._served(detail)
        must(again.body == first.body, f"release {first.release_number} answered {first.body!r}, now {again.body!r}")
        release = await self.api.get(f"/releases/{again.release}")
        for line in release["came_back"]:
            self.teller.more(f"came back: {line}")
        await asyncio.sleep(0.5)
        await visitor.stop()
        self._nothing_failed(visitor)
        both = {first.body, third.body}
        must(set(visitor.bodies) == both, f"{len(visitor.bodies)} different answers were seen instead of 2")
        said = f"{first.commit[:7]} serves again, byte for byte what release {first.release_number} answered"
        self.teller.done(said)
        self.teller.so(f"0 of {count(visitor.asked, 'request')} failed across both switches")

    async def _run_of(self, asked: dict[str, Any]) -> str:
        if asked["data"].get("run"):
            return str(asked["data"]["run"])

        async def newest() -> Any:
            rows = (await self.api.get("/runs", service=SERVICE, trigger="rollback", limit=1))["items"]
            return rows[0]["id"] if rows else None

        return str(await self._until(newest, "the rollback's run"))

    # -- watching ------------------------------------------------------------------------------------------------------
    async def _watch(self, run: str, wanted: str) -> dict[str, Any]:
        """Tell each step as it ends; the run's details when it is over. Raises NotAsItMustBe when it ends otherwise."""
        told: set[tuple[str, str]] = set()
        deadline = time.monotonic() + RUN_SECONDS
        detail: dict[str, Any] = {}
        async with self.teller.waiting("run"):
            async for _ in self.api.changes(f"/events?service={SERVICE}"):
                if time.monotonic() > deadline:
                    raise self._too_slow(run, detail)
                found = await self.api.find(f"/runs/{run}")
                if found is None:  # acknowledged a moment ago, and the read model is on its way
                    continue
                detail = found
                for step in detail["step_rows"]:
                    key = (step["step"], step["environment"])
                    if step["state"] in STEP_ENDED and key not in told:
                        told.add(key)
                        await self._tell(run, detail, step)
                if detail["state"] in ENDED:
                    break
        if detail["state"] != wanted:
            why = detail["reason"] or one_line(detail["steps"])
            raise NotAsItMustBe(
                f"run #{detail['number']} ended as {detail['state']}, not {wanted}: {why}",
                advice=f"kiops runs show {run}",
                code=detail["code"] or "demo.not_as_it_must_be",
            )
        return detail

    def _too_slow(self, run: str, detail: dict[str, Any]) -> NotAsItMustBe:
        waits = [step["step"] for step in detail.get("step_rows", []) if step["state"] not in STEP_ENDED]
        return NotAsItMustBe(
            f"run #{detail.get('number', '?')} is not over after {RUN_SECONDS} s; it waits for {', '.join(waits) or 'everything'}",
            advice=f"kiops runs show {run}",
            code="demo.waited",
        )

    async def _tell(self, run: str, detail: dict[str, Any], step: dict[str, Any]) -> None:
        name, state = step["step"], step["state"]
        # What comes after a failed or blocked step was not reached: one line less to read.
        if state in ("skipped", "cancelled") and name not in ("sast", "sca"):
            return
        text = step["text"]
        if name == "source":
            text = f"{detail['commit'][:7]}, {count(await asyncio.to_thread(self.repository.files), 'file')}"
        elif name in ("sast", "sca"):
            text = sentences.scans(name, (await self.api.get(f"/runs/{run}/scans"))["items"]) or text
        elif name == "build" and detail["build"] and state == "success":
            text = sentences.build(detail["build"])
        elif name == "gate":
            decisions = (await self.api.get(f"/runs/{run}/decisions"))["items"]
            text, more = sentences.gate(decisions[0]) if decisions else (text, [])
            self.teller.step(name, text, took(decisions[0]["duration_ms"] if decisions else None), state)
            for line in more:
                self.teller.more(line)
            return
        elif name == "operate" and state == "success":
            text = f"{text} (60 s outside the demo)"
        self.teller.step(name, text, took(sentences.lasted_ms(step)) if name != "operate" else "", state)

    async def _served(self, detail: dict[str, Any]) -> Served:
        """Ask the sample itself, and compare what runs with what was planned."""
        place = next(row for row in (await self.api.get(f"/services/{SERVICE}"))["environments"] if row["name"] == ENVIRONMENT)
        must(place["run_id"] == detail["id"], f"run #{detail['number']} is over, and what serves is of run #{place['run_number']}")
        deploy = detail["deploys"][-1]
        must(place["image_id"] == (detail["build"] or place)["image_id"], "another image runs than the one that was built")
        status, body = await Asking(place["url"]).get(keep=False)
        must(status == 200, f"{place['url']} answers HTTP {status}")
        after_ms = detail["timeline"]["deployed_after_ms"]
        if after_ms is None:
            after_ms = (time.monotonic() - self._pushed_at) * 1000
        return Served(place["url"], body, deploy["release_id"], deploy["release_number"], detail["commit"], after_ms)

    def _nothing_failed(self, visitor: Visitor) -> None:
        must(
            visitor.failed == 0,
            f"{visitor.failed} of {count(visitor.asked, 'request')} failed; the first: {visitor.failures[:1]}",
        )


def must(true: object, otherwise: str) -> None:
    """Raise NotAsItMustBe with these words unless it is true."""
    if not true:
        raise NotAsItMustBe(otherwise)


def short(path: Path) -> str:
    """A path below the person's home as ~/..."""
    try:
        return f"~/{path.relative_to(Path.home())}"
    except ValueError:
        return str(path)
