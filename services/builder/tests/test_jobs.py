"""The builder at work, with a real bus, git and engine: a push becomes an image, or a named failure; nothing is left over."""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from builder import tables
from builder.clients.buildkit import BuildKit
from builder.clients.git import Git
from builder.domain.plan import BuildPlan
from shared.facts.webhook import RunCancelled, RunSuperseded
from shared.git import Options, SourceRefused
from shared.processes import run_child
from shared.queries.builder import AskImageExists

# What the engine does with a build; its rows are in test_handlers.py and test_postgresql.py, on both databases.
pytestmark = pytest.mark.one_database

BASE = "FROM scratch\nCOPY busybox /bin/busybox\n"
RunLine = Callable[[str], str]


async def test_a_push_becomes_an_image(eventually: Any, road: Any, repository: Any, busybox: Path, run_line: RunLine) -> None:
    files = {"Dockerfile": BASE + run_line(f"echo {secrets.token_hex(4)}"), "busybox": busybox}
    commit = repository.commit("Greet the customer", **files)
    async with road() as r:
        run = await r.push(commit)
        built = await r.over(run)
        assert r.names(run) == ["build.started", "source.fetched", "build.succeeded"]
        assert built.image.startswith("kiops-test-shop:20") and built.image.endswith(commit[:7])
        assert built.image_id.startswith("sha256:") and built.size_bytes > 1_000_000
        assert (built.steps, built.base_image, built.version_by_hand) == (2, "scratch", False)
        assert set(built.stages_ms) == {"clone", "analyse", "build", "push"}
        fetched = next(fact for fact, _ in r.heard if fact.name == "source.fetched")
        assert (fetched.files, fetched.author, fetched.message) == (2, "Ada", "Greet the customer")
        log = await r.log(built)
        assert log[0] == "Triggered by webhook: push of 3 commits to main by Ada"
        assert any("[2/2] RUN" in line for line in log) and built.image_id in log[-1]
        assert all(envelope.correlation == run for _, envelope in r.heard)

        image = await r.platform.services["builder"].service.answers.table[AskImageExists.type()][1](
            AskImageExists(organisation="main", image_id=built.image_id)
        )
        assert image.exists
        work = r.builder.host.data / "work"
        assert await eventually(lambda: not list(work.iterdir()))


@pytest.mark.parametrize(
    ("files", "changes", "stage", "code"),
    [
        ({"README": ""}, {}, "analyse", "build.dockerfile_not_found"),
        ({"Dockerfile": "FROM scratch\nFRM\n"}, {}, "analyse", "build.dockerfile_invalid"),
        ({"Dockerfile": BASE + 'RUN ["/bin/busybox", "false"]\n'}, {}, "build", "build.step_failed"),
        ({"Dockerfile": BASE}, {"commit": "d" * 40}, "clone", "source.commit_gone"),
        ({"Dockerfile": BASE}, {"repository_url": "/etc"}, "clone", "source.path_not_allowed"),
        ({"Dockerfile": BASE}, {"repository_url": "{demo}/gone.git"}, "clone", "source.not_found"),
        ({"Dockerfile": BASE}, {"version": "not a version"}, "analyse", "build.version_invalid"),
    ],
)
async def test_what_fails_is_named_and_over(
    road: Any, repository: Any, busybox: Path, files: dict[str, str], changes: dict[str, str], stage: str, code: str
) -> None:
    commit = repository.commit("Begin", busybox=busybox, **files)
    changes = {name: value.replace("{demo}", str(repository.bare.parent)) for name, value in changes.items()}
    async with road() as r:
        failed = await r.over(await r.push(**{"commit": commit, **changes}))
        assert (failed.name, failed.stage, failed.code) == ("build.failed", stage, code)
        assert failed.reason and failed.advice
        if failed.log:
            assert any(code in line for line in await r.log(failed))


async def test_cancelling_a_run_ends_the_steps_process(road: Any, sleeper: Any, repository: Any, busybox: Path) -> None:
    commit = repository.commit("Sleep", Dockerfile=BASE + sleeper.line, busybox=busybox)
    async with road() as r:
        run = await r.push(commit)
        await sleeper.running()
        await r.tell(RunCancelled(organisation="main", service="svc_shop", run=run, number=1, by="Ada"))
        took = await sleeper.gone()
        cancelled = await r.over(run)
        assert (cancelled.name, cancelled.reason) == ("build.cancelled", "cancelled by Ada")
        assert "Stopped: cancelled by Ada" in await r.log(cancelled)
        print(f"the RUN's process was gone {took:.2f} s after the order")


async def test_a_queued_build_says_what_it_waits_for_and_can_be_superseded(
    road: Any, sleeper: Any, repository: Any, busybox: Path, eventually: Any
) -> None:
    commit = repository.commit("Sleep", Dockerfile=BASE + sleeper.line, busybox=busybox)
    async with road() as r:
        first = await r.push(commit, 1)
        await sleeper.running()
        second = await r.push(commit, 2)

        async def told() -> bool:
            async with r.builder.service.database.read() as tx:
                queued = await tx.all(sa.select(tables.metadata.tables["outbox"].c.body))
            return "build #1 of this service" in [json.loads(row.body).get("waits_for") for row in queued]

        assert await eventually(told)
        await r.tell(RunSuperseded(organisation="main", service="svc_shop", run=second, number=2, by_run="run_3", by_number=3))
        assert (await r.over(second)).reason == "superseded by run #3"
        assert r.names(second) == ["build.cancelled"]
        assert "build.succeeded" not in r.names(first) and sleeper.processes()
        await r.tell(RunCancelled(organisation="main", service="svc_shop", run=first, number=1, by="Ada"))
        assert (await r.over(first)).name == "build.cancelled"
        await sleeper.gone()


async def test_a_build_past_its_deadline_ends(road: Any, sleeper: Any, repository: Any, busybox: Path) -> None:
    """Wherever it is by then: on a busy machine the deadline may come before the step began."""
    commit = repository.commit("Sleep", Dockerfile=BASE + sleeper.line, busybox=busybox)
    async with road(settings={"build_deadline_seconds": 2}) as r:
        failed = await r.over(await r.push(commit))
        assert failed.code == "build.deadline" and "2 s" in failed.reason
        assert any("build.deadline" in line for line in await r.log(failed))
        await sleeper.gone()


async def test_a_clone_past_its_deadline_ends_with_its_process(road: Any, repository: Any) -> None:
    commit = repository.commit("Begin", Dockerfile=BASE)
    mark = f"3{secrets.randbelow(10**8):08}"
    begun = asyncio.Event()

    async def stuck(argv: list[str], **options: Any) -> Any:
        begun.set()
        return await run_child(["/bin/sleep", mark], **options)

    git = Git(Options(roots=[repository.bare.parent], child=stuck))
    async with road(git=git, settings={"build_deadline_seconds": 2}) as r:
        failed = await r.over(await r.push(commit))
        assert begun.is_set() and (failed.code, failed.stage) == ("build.deadline", "clone")
    left = [path for path in Path("/proc").glob("[0-9]*/cmdline") if mark.encode() in _read(path)]
    assert not left


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


async def test_an_engine_that_is_away_is_tried_again_and_then_named(road: Any, repository: Any, tmp_path: Path) -> None:
    commit = repository.commit("Begin", Dockerfile=BASE)
    async with road(settings={"engine_socket": tmp_path / "no.sock"}) as r:
        run = await r.push(commit)
        failed = await r.over(run, seconds=40)
        assert (failed.name, failed.code) == ("build.failed", "engine.away")
        assert r.names(run).count("build.started") == 5
        assert any("engine.away" in line for line in await r.log(failed))
        assert "engine" in await r.builder.failing()


async def test_the_same_version_twice_is_refused_unless_the_commit_is_the_same(road: Any, repository: Any, busybox: Path) -> None:
    first = repository.commit("One", Dockerfile=BASE, busybox=busybox)
    second = repository.commit("Two", Dockerfile=BASE + "LABEL x=1\n", busybox=busybox)
    async with road() as r:
        built = await r.over(await r.push(first, 1, version="1.0.0"))
        assert (built.image, built.version_by_hand) == ("kiops-test-shop:1.0.0", True)
        refused = await r.over(await r.push(second, 2, version="1.0.0"))
        assert refused.code == "build.version_taken" and "run #1" in refused.reason
        again = await r.over(await r.push(first, 3, version="1.0.0"))
        assert again.name == "build.succeeded"


async def test_builds_of_one_service_run_one_after_another_in_order(road: Any, repository: Any, busybox: Path) -> None:
    commit = repository.commit("Begin", Dockerfile=BASE, busybox=busybox)
    async with road() as r:
        runs = [await r.push(commit, number) for number in range(1, 5)]
        for run in runs:
            assert (await r.over(run)).name == "build.succeeded"
        order = [fact.number for fact, _ in r.heard if fact.name in ("build.started", "build.succeeded")]
        assert order == [1, 1, 2, 2, 3, 3, 4, 4]
        images = {fact.image for fact, _ in r.heard if fact.name == "build.succeeded"}
        assert len(images) == 4


async def test_a_stopped_builder_does_the_build_again_with_a_newer_token(
    road: Any, sleeper: Any, repository: Any, busybox: Path
) -> None:
    """The step's process ends with the builder; the next one begins anew, and tells it with attempt 2."""
    commit = repository.commit("Sleep", Dockerfile=BASE + sleeper.line, busybox=busybox)
    async with road() as r:
        run = await r.push(commit)
        await sleeper.running()
    await sleeper.gone()
    async with road() as r:
        started = await r.until(run, "build.started")
        assert started.attempt == 2
        await sleeper.running()
        await r.tell(RunCancelled(organisation="main", service="svc_shop", run=run, number=1, by="Ada"))
        assert (await r.over(run)).name == "build.cancelled"
        await sleeper.gone()


async def test_a_new_attempt_removes_what_the_older_one_left(
    road: Any, repository: Any, busybox: Path, sleeper: Any, docker_engine: Any, tmp_path: Path
) -> None:
    """An image of the older token (the builder died between building and telling) goes; the new attempt's stays."""
    commit = repository.commit("Sleep", Dockerfile=BASE + "ARG FAST\n" + sleeper.line, busybox=busybox)
    async with road() as r:
        run = await r.push(commit)
        started = await r.until(run, "build.started")
        await sleeper.running()
    engine = BuildKit(Path(docker_engine.socket))
    (tmp_path / "left").mkdir()
    (tmp_path / "left" / "Dockerfile").write_text("FROM scratch\nLABEL left=over\n")
    labels = {"org.kiops.job": started.build, "org.kiops.token": "1", "org.kiops.service": "svc_shop"}
    *_, left = [event async for event in engine.build(BuildPlan(tmp_path / "left", tmp_path, labels=labels))]
    async with road() as r:
        await sleeper.running()
        assert (await r.until(run, "build.started")).attempt == 2
        assert not await engine.exists(left.image_id)
        await r.tell(RunCancelled(organisation="main", service="svc_shop", run=run, number=1, by="Ada"))
        assert any("left over from an earlier try" in line for line in await r.log(await r.over(run)))


async def test_a_secret_is_in_no_log_and_no_fact(
    road: Any, repository: Any, busybox: Path, git_server: Any, run_line: RunLine
) -> None:
    """The credential stands in the address and, by somebody's mistake, in what a step prints and fails with."""
    secret = git_server.password
    encoded = base64.b64encode(f"x{secret}y".encode()).decode()
    line = run_line(f"echo plain {secret}; echo base64 {encoded}; echo {secret} >&2; exit 3")
    commit = repository.commit(f"Use {secret}", Dockerfile=BASE + line, busybox=busybox)
    repository.git("update-server-info", cwd=repository.bare)
    async with road() as r:
        url = f"http://git:{secret}@127.0.0.1:{git_server.server_port}/shop.git"
        failed = await r.over(await r.push(commit, repository_url=url))
        assert failed.code == "build.step_failed"
        log = await r.log(failed)
        assert any(text.startswith("plain •••") for text in log)
        everything = "\n".join([*log, *(fact.model_dump_json() for fact, _ in r.heard)])
        assert secret not in everything and encoded[4:-4] not in everything


async def test_the_first_process_waits_for_nobody(road: Any, repository: Any, tmp_path: Path) -> None:
    """Git begins before the engine has said what it can do, and before a credential is there: here neither ever comes.

    How soon that is after the push is measured by benchmarks/push_to_process.py.
    """
    commit = repository.commit("Begin", Dockerfile=BASE)
    asked = asyncio.Event()
    begun: list[str] = []

    async def first_process_only(argv: list[str], **options: Any) -> Any:
        begun.append(argv[1])
        await run_child(argv, **options)
        await asked.wait()  # the engine was asked meanwhile, and says nothing
        raise SourceRefused("source.seen", "enough was seen", "Nothing to do.")

    silent = await asyncio.start_unix_server(lambda reader, writer: asked.set(), tmp_path / "silent.sock")
    git = Git(Options(roots=[repository.bare.parent], child=first_process_only))
    async with silent, road(git=git, settings={"engine_socket": tmp_path / "silent.sock"}) as r:
        run = await r.push(commit, credential="crd_nobody_gives")
        failed = await r.over(run)
        assert (failed.code, failed.stage, begun) == ("source.seen", "clone", ["init"])
        assert r.names(run) == ["build.started", "build.failed"]
