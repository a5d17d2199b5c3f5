"""The BuildKit client against the real engine. Images are FROM scratch with a static busybox; each test's are removed."""

from __future__ import annotations

import asyncio
import secrets
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from builder.clients.buildkit import BuildKit
from builder.domain.plan import BuildPlan
from builder.domain.steps import Built, Event, Line, Note, Progress, Step, StepState
from builder.errors import BuildError, EngineCannotBuild
from shared.engine import EngineAway

BASE = "FROM scratch\nCOPY busybox /bin/busybox\n"
RunLine = Callable[[str], str]


@pytest.fixture
async def buildkit(docker_engine: Any, tmp_path: Path) -> AsyncIterator[BuildKit]:
    client = BuildKit(Path(docker_engine.socket))
    yield client
    for image in await client.engine.images(job=tmp_path.name):
        await client.remove(image.id)


@pytest.fixture
def plan(tmp_path: Path, busybox: Path) -> Callable[..., BuildPlan]:
    """A plan from files' contents; busybox is always among them."""

    def make(files: dict[str, str], **given: Any) -> BuildPlan:
        source, scratch = tmp_path / "source", tmp_path / "scratch"
        for folder in (source, scratch):
            folder.mkdir(exist_ok=True)
        (source / "busybox").write_bytes(busybox.read_bytes())
        (source / "busybox").chmod(0o755)
        for name, text in files.items():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_text(text)
        labels = {"org.kiops.job": tmp_path.name, "org.kiops.token": "1"}
        return BuildPlan(source, scratch, **{"labels": labels, **given})

    return make


async def events(buildkit: BuildKit, plan: BuildPlan) -> list[Event]:
    async with aclosing(buildkit.build(plan)) as stream:
        return [event async for event in stream]


async def failure(buildkit: BuildKit, plan: BuildPlan) -> BuildError:
    with pytest.raises(BuildError) as caught:
        await events(buildkit, plan)
    assert caught.value.advice
    return caught.value


def lines(found: list[Event]) -> list[tuple[int, str]]:
    return [(event.stream, event.text) for event in found if isinstance(event, Line)]


async def test_an_image_is_built_and_told_live(buildkit: BuildKit, plan: Any, run_line: RunLine) -> None:
    nonce = secrets.token_hex(4)
    files = {"Dockerfile": BASE + run_line(f"echo out {nonce}; echo err {nonce} >&2") + run_line("echo -n without an end")}
    found = await events(buildkit, plan(files))
    built = found[-1]
    assert isinstance(built, Built)
    assert built.image_id.startswith("sha256:") and built.size_bytes > 1_000_000
    assert (built.steps, built.labels["org.kiops.token"]) == (3, "1")
    assert await buildkit.exists(built.image_id)
    assert {(1, f"out {nonce}"), (2, f"err {nonce}"), (1, "without an end")} <= set(lines(found))
    progress = [event.percent for event in found if isinstance(event, Progress)]
    assert progress == sorted(progress) and progress[-1] == 100 and progress.count(100) == 1
    assert found.index(built) == len(found) - 1
    ran = [event for event in found if isinstance(event, Step) and event.state is StepState.DONE and "RUN" in event.name]
    assert len(ran) == 2 and all(step.duration_ms is not None and step.duration_ms > 0 for step in ran)


async def test_a_second_build_comes_from_the_cache(buildkit: BuildKit, plan: Any, run_line: RunLine) -> None:
    files = {"Dockerfile": BASE + run_line(f"echo {secrets.token_hex(4)}")}
    first = (await events(buildkit, plan(files)))[-1]
    second = (await events(buildkit, plan(files)))[-1]
    assert isinstance(first, Built) and isinstance(second, Built)
    assert (second.steps, second.steps_cached) == (2, 2)
    fresh = (await events(buildkit, plan(files, use_cache=False)))[-1]
    assert isinstance(fresh, Built) and fresh.steps_cached == 0


async def test_a_failing_step_is_named_with_its_exit_code_and_last_lines(buildkit: BuildKit, plan: Any, run_line: RunLine) -> None:
    error = await failure(buildkit, plan({"Dockerfile": BASE + run_line("echo it breaks; exit 7")}))
    assert error.code == "build.step_failed"
    assert error.detail["exit_code"] == 7
    assert error.detail["last_lines"] == ["it breaks"]
    assert "[2/2] RUN" in error.message and "it breaks" in error.message


@pytest.mark.parametrize(
    ("dockerfile", "code", "word"),
    [
        ("FROM scratch\nFRM x\n", "build.dockerfile_invalid", "line 2"),
        ("\n", "build.dockerfile_invalid", "empty"),
        ("RUN x\n", "build.dockerfile_invalid", "no build stage"),
        ("FROM $NOTHING\n", "build.dockerfile_invalid", "blank"),
        ("FROM scratch\nCOPY --chwon=1 busybox /\n", "build.dockerfile_invalid", "chwon"),
        ("FROM scratch\nCOPY nothing /x\n", "build.file_not_found", "nothing"),
        ("FROM localhost:1/no/such:1\n", "build.base_unreachable", "localhost:1/no/such:1"),
        ("# syntax=localhost:1/docker/dockerfile:1\nFROM scratch\n", "build.frontend_unavailable", "syntax"),
        (BASE + 'RUN --mount=type=secret,id=token,required=true ["/bin/busybox", "true"]\n', "build.secret_missing", "token"),
    ],
)
async def test_what_is_wrong_with_a_dockerfile_is_named(
    buildkit: BuildKit, plan: Any, dockerfile: str, code: str, word: str
) -> None:
    error = await failure(buildkit, plan({"Dockerfile": dockerfile}))
    assert (error.code, word in error.message) == (code, True), error.message


async def test_a_dockerfile_that_is_not_there_comes_with_those_that_are(buildkit: BuildKit, plan: Any) -> None:
    error = await failure(buildkit, plan({"app/Dockerfile": BASE, "docs/dockerfile.md": "", "dev.dockerfile": BASE}))
    assert error.code == "build.dockerfile_not_found"
    assert error.detail["others"] == ["dev.dockerfile", "app/Dockerfile"]
    assert "app/Dockerfile" in error.advice
    none = await failure(buildkit, plan({}, dockerfile="../../etc/passwd"))
    assert none.code == "build.dockerfile_not_found"
    missing = await failure(buildkit, plan({"Dockerfile": BASE}, context="nowhere"))
    assert missing.code == "build.context_not_found"


async def test_dockerignore_and_a_dockerfile_outside_the_context(buildkit: BuildKit, plan: Any, busybox: Path) -> None:
    """What is left out is not sent; the Dockerfile is found though it is no part of the context."""
    find = "/busybox find / -type f -not -path '/proc/*' -not -path '/sys/*' -not -path '/dev/*' -not -path '/etc/*'"
    files = {
        "build/Dockerfile": f'FROM scratch\nCOPY . /\nRUN ["/busybox", "sh", "-c", "{find}"]\n',
        "app/.dockerignore": "# comment\n*\n!busybox\n!src/\nsrc/*.log\n**/tmp\n!src/keep.log\n",
        "app/src/main.py": "",
        "app/src/a.log": "",
        "app/src/keep.log": "",
        "app/src/tmp/x": "",
        "app/other": "",
    }
    made = plan(files, dockerfile="build/Dockerfile", context="app")
    (made.source / "busybox").rename(made.source / "app/busybox")
    found = await events(buildkit, replace(made, use_cache=False))
    assert sorted(text for _, text in lines(found)) == ["/busybox", "/src/keep.log", "/src/main.py"]
    assert any("left out by .dockerignore" in event.text for event in found if isinstance(event, Note))


async def test_a_secret_reaches_the_step_and_not_the_image(buildkit: BuildKit, plan: Any) -> None:
    secret = secrets.token_hex(16)
    mount = 'RUN --mount=type=secret,id=token ["/bin/busybox", "sh", "-c", "/bin/busybox wc -c < /run/secrets/token"]\n'
    found = await events(buildkit, plan({"Dockerfile": BASE + mount}, secrets={"token": secret.encode()}, use_cache=False))
    assert (1, "32") in lines(found)
    assert secret not in repr(found)


async def test_cancelling_ends_the_steps_process(buildkit: BuildKit, plan: Any, sleeper: Any) -> None:
    """Within two seconds nothing of the RUN is left in /proc."""
    task = asyncio.create_task(events(buildkit, plan({"Dockerfile": BASE + sleeper.line})))
    await sleeper.running()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await sleeper.gone()


async def test_leaving_early_ends_the_steps_process(buildkit: BuildKit, plan: Any, sleeper: Any) -> None:
    async with aclosing(buildkit.build(plan({"Dockerfile": BASE + sleeper.line}))) as stream:
        async for event in stream:
            if isinstance(event, Step) and "RUN" in event.name and event.state is StepState.RUNNING:
                break
        await sleeper.running()
    await sleeper.gone()


BUILD_IN_A_CHILD = """
import asyncio, pathlib, sys
from builder.clients.buildkit import BuildKit
from builder.domain.plan import BuildPlan

async def build(socket, source, scratch, job):
    plan = BuildPlan(pathlib.Path(source), pathlib.Path(scratch), labels={"org.kiops.job": job})
    async for event in BuildKit(pathlib.Path(socket)).build(plan):
        pass

asyncio.run(build(*sys.argv[1:]))
"""


async def test_a_killed_builder_leaves_no_process_and_no_image(
    buildkit: BuildKit, plan: Any, sleeper: Any, docker_engine: Any, tmp_path: Path
) -> None:
    """kill -9 on the process that builds: the engine sees the connection go and ends the step."""
    made = plan({"Dockerfile": BASE + sleeper.line})
    words = [docker_engine.socket, str(made.source), str(made.scratch), tmp_path.name]
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", BUILD_IN_A_CHILD, *words)
    await sleeper.running()
    child.kill()
    await child.wait()
    await sleeper.gone()
    assert await buildkit.engine.images(job=tmp_path.name) == []


async def test_an_engine_that_is_away_is_named(tmp_path: Path, plan: Any) -> None:
    with pytest.raises(EngineAway) as caught:
        await events(BuildKit(tmp_path / "no.sock"), plan({"Dockerfile": BASE}))
    assert caught.value.code == "engine.away"
    assert "BUILDER_ENGINE_SOCKET" in caught.value.advice


async def test_an_engine_that_goes_away_in_the_middle(plan: Any, sleeper: Any, tmp_path: Path, docker_engine: Any) -> None:
    """A relay stands between us and the engine, and falls over while a step runs."""
    writers: list[asyncio.StreamWriter] = []

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_unix_connection(docker_engine.socket)
        writers.extend((writer, back))
        await asyncio.gather(pipe(reader, back), pipe(there, writer))

    server = await asyncio.start_unix_server(relay, str(tmp_path / "relay.sock"))
    made = plan({"Dockerfile": BASE + sleeper.line})
    task = asyncio.create_task(events(BuildKit(tmp_path / "relay.sock"), made))
    await sleeper.running()
    server.close()
    for writer in writers:
        writer.transport.abort()
    with pytest.raises(EngineAway) as caught:
        await asyncio.wait_for(task, 5)
    assert "middle" in caught.value.message


async def test_an_engine_without_buildkit_is_named(tmp_path: Path, plan: Any) -> None:
    """Podman answers the Docker API and offers no /grpc."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        body = b'{"Version": "4.3.1"}' if b"/version" in request else b"not found"
        status = b"200 OK" if b"/version" in request else b"404 Not Found"
        writer.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        writer.close()

    async with await asyncio.start_unix_server(answer, str(tmp_path / "podman.sock")):
        client = BuildKit(tmp_path / "podman.sock")
        assert (await client.abilities()).sentence().startswith("4.3.1 without BuildKit")
        with pytest.raises(EngineCannotBuild):
            await events(client, plan({"Dockerfile": BASE}))


async def test_what_an_engine_can_do_is_said(buildkit: BuildKit, docker_engine: Any) -> None:
    abilities = await buildkit.abilities()
    assert abilities.buildkit and abilities.version == docker_engine.version.split("+")[0]
    assert ("needs 29" in abilities.sentence()) == (int(abilities.version.split(".")[0]) < 29)


async def test_leftovers_of_an_older_try_are_found_by_their_labels(
    buildkit: BuildKit, plan: Any, tmp_path: Path, run_line: RunLine
) -> None:
    files = {"Dockerfile": BASE + run_line(f"echo {secrets.token_hex(4)}")}
    built: dict[int, str] = {}
    for token in (1, 2):
        labels = {"org.kiops.job": tmp_path.name, "org.kiops.token": str(token)}
        last = (await events(buildkit, plan(files, labels=labels)))[-1]
        assert isinstance(last, Built)
        built[token] = last.image_id
    await buildkit.tag(built[1], "kiops-test-leftover", "1")
    assert await buildkit.sweep(tmp_path.name, before=2) == [built[1]]
    assert not await buildkit.exists(built[1]) and await buildkit.exists(built[2])
