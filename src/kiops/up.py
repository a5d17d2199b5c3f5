"""`kiops up` and `kiops serve`: from taking the data folder to the line that says where to look, and back."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from kiops import catalogue, folder, ports
from kiops.setup import plan
from kiops.setup.screen import NeedsHelp, Screen
from kiops.terminal import Exit, fail

PATIENCE_SECONDS = 15
"""After this long without being ready the line says what is waited for."""
REMARK_SECONDS = 10
"""Making the edge's image takes a few seconds the first time; what is amiss after this long is told."""

Journey = Callable[[str, str, Path], Awaitable[None]]
"""What to do once everything is ready: (address, token, data folder)."""


def up(*, data: Path | None, host: str, port: int, may_install: bool, proxies: Sequence[str], journey: Journey | None) -> None:
    """Runs all seven services until Ctrl-C or SIGTERM."""
    began = time.monotonic()
    screen = Screen()
    root = folder.root(data)
    lock = _take(root)
    listener = _listen(host, port)
    folder.write_state(root, pid=os.getpid(), url=_address(host, listener))
    try:
        if plan.prepare("up", screen, may_install=may_install):
            began = time.monotonic()  # what was installed had lines of its own
        _use_engine()
    except NeedsHelp as problem:
        screen.error(problem)
        raise SystemExit(int(Exit.AWAY)) from None
    if proxies:
        os.environ["GATEWAY_TRUSTED_PROXIES"] = json.dumps(list(proxies))
    failed: list[Any] = []
    try:
        _serve(catalogue.NAMES, root, host, listener, _told(screen, began, root, journey, failed), log_to_file=True)
    finally:
        folder.forget_state(root)
        lock.close()
    screen.say("KIOPS has ended. What it deployed keeps running; `./kiops up` brings it back.")
    if failed:
        raise SystemExit(failed[0])


def serve(names: Sequence[str], *, data: Path | None, host: str, port: int | None) -> None:
    """Runs the named services (or all) in this process, log lines on standard error, until Ctrl-C or SIGTERM."""
    if "all" in names:
        names = catalogue.NAMES
    if unknown := [name for name in names if name not in catalogue.NAMES]:
        fail(
            f"there is no service {unknown[0]}", advice=f"one of: all, {', '.join(catalogue.NAMES)}",
            code="serve.unknown", exit_code=Exit.ASKED_WRONGLY,
        )  # fmt: skip
    names = [name for name in catalogue.NAMES if name in names]
    root = folder.root(data)
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    if port is None:
        port = 8640 if "gateway" in names else 0
    listener = _listen(host, port)
    began = time.monotonic()

    async def ready(running: Any, url: str) -> None:
        await _until_ready(running, Screen())
        for name in names:
            folder.write_served(root / "services" / name, pid=os.getpid(), url=url)
        print(f"{', '.join(names)} ready after {time.monotonic() - began:.1f} s at {url}", flush=True)

    _serve(names, root, host, listener, ready, log_to_file=False)


def _take(root: Path) -> Any:
    try:
        return folder.take(root)
    except folder.AlreadyRunning as other:
        fail(
            f"KIOPS runs already as pid {other.pid}" + (f" at {other.url}" if other.url else ""),
            advice="open it, stop it with `./kiops down`, or start another with --data and --port",
            code="start.already_running", exit_code=Exit.AWAY,
        )  # fmt: skip
    except OSError as problem:
        fail(f"the data folder {root} cannot be used: {problem.strerror}", advice="choose another with --data",
             code="start.data_folder", exit_code=Exit.AWAY)  # fmt: skip


def _listen(host: str, port: int) -> socket.socket:
    try:
        return ports.listen(host, port)
    except ports.PortTaken as taken:
        fail(str(taken), advice=f"`kiops up --port {port + 10}`, or stop that program",
             code="start.port_taken", exit_code=Exit.AWAY)  # fmt: skip
    except OSError as problem:
        fail(f"cannot listen on {host}:{port}: {problem.strerror}", advice="another --host or --port",
             code="start.address", exit_code=Exit.AWAY)  # fmt: skip


def _address(host: str, listener: socket.socket) -> str:
    """Where this machine reaches us."""
    shown = "127.0.0.1" if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host
    return f"http://{shown}:{listener.getsockname()[1]}"


def _use_engine() -> None:
    """The services use the engine that setting up found, also when it is not the system's."""
    from kiops.setup import engine

    found = engine.find()
    if found is not None and found.socket != engine.SYSTEM_SOCKET:
        os.environ.setdefault("DOCKER_HOST", f"unix://{found.socket}")
        os.environ.setdefault("OPERATOR_PROXY_ENGINE_SOCKET", found.socket)
        os.environ.setdefault("BUILDER_ENGINE_SOCKET", found.socket)


def _serve(
    names: Sequence[str],
    root: Path,
    host: str,
    listener: socket.socket,
    when_up: Callable[[Any, str], Awaitable[None]],
    *,
    log_to_file: bool,
) -> None:
    from shared.errors import KiopsError, Unavailable
    from shared.settings import PlatformSettings

    from kiops.serving import run, serving
    from shared import logging

    port = listener.getsockname()[1]
    settings = PlatformSettings(data=root, host=host, port=port)
    file = settings.log_file or (root / "log" / "kiops.log" if log_to_file else None)
    if file:
        _turn_over(file)
    logging.configure(settings.log_level, file)
    url = _address(host, listener)

    async def main() -> None:
        async with serving(names, settings, listener) as running:
            telling = asyncio.create_task(when_up(running, url))
            try:
                done, _ = await asyncio.wait({telling, running.http}, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
                await running.http
            finally:
                telling.cancel()
                await asyncio.gather(telling, return_exceptions=True)

    try:
        run(main())
    except KiopsError as problem:
        away = isinstance(problem, Unavailable) or problem.code.startswith("start.")
        fail(problem.message, advice=problem.advice, code=problem.code, exit_code=Exit.AWAY if away else Exit.DEFECT)
    finally:
        listener.close()


def _turn_over(file: Path, *, max_bytes: int = 20_000_000) -> None:
    """Keeps one older log file."""
    if file.exists() and file.stat().st_size > max_bytes:
        file.replace(file.with_suffix(".log.1"))


def _told(
    screen: Screen, began: float, root: Path, journey: Journey | None, failed: list[Any]
) -> Callable[[Any, str], Awaitable[None]]:
    async def ready(running: Any, url: str) -> None:
        await _until_ready(running, screen)
        _, pss = await asyncio.to_thread(running.platform.memory_mb)
        nats = f"nats-server {running.bus.version}, " if running.bus else ""
        note = f"{len(running.platform.services)} services, {nats}{pss:.0f} MB"
        screen.done("started", note, seconds=time.monotonic() - began)
        if os.environ.get("KIOPS_TIMINGS"):
            screen.say("    " + ", ".join(f"{name} {at:.2f}" for name, at in running.timings.items()))
        token = folder.token(root)
        path = await asyncio.to_thread(_sign_in_link, url, token)
        screen.say()
        screen.say(f"Open   {url}{path}   (one use, 15 minutes; `kiops login-link` makes another)")
        if journey:
            screen.say()
            try:
                await journey(url, token, root)
            except SystemExit as ended:  # the platform goes on, so that a person can look what happened
                failed.append(ended.code)
                screen.say(f"{screen.paint('✗', '31')} the journey did not go as it must; KIOPS goes on, so that you can look")
        screen.say()
        screen.say("Ctrl-C stops KIOPS (what it deployed keeps running); `./kiops up` brings it back.")

    return ready


async def _until_ready(running: Any, screen: Screen) -> None:
    """All ready, outboxes empty, everything heard, the edge answering. Says now and then what is waited for.

    What is amiss though every service is ready (no engine, the edge's port taken) is waited for a while, then told.
    """
    platform = running.platform
    began = told = time.monotonic()
    pause = 0.02
    while True:
        settled = await platform.settled()
        remarks = _remarks(platform)
        now = time.monotonic()
        if settled and (not remarks or now - began > REMARK_SECONDS):
            break
        if running.http.done():
            running.http.result()
        if now - began > PATIENCE_SECONDS and now - told > PATIENCE_SECONDS:
            told = now
            for name, causes in (await platform.failing()).items():
                for cause, text in causes.items():
                    screen.say(f"  … {name} is not ready: {cause}: {text}")
        await asyncio.sleep(pause)
        pause = min(pause * 1.3, 0.25)
    for text in remarks:
        screen.say(f"  {screen.paint('!', '33')} {text}")


def _remarks(platform: Any) -> list[str]:
    return [f"{name}: {what}: {text}" for name, each in platform.services.items() for what, text in each.service.remarks().items()]


def _sign_in_link(url: str, token: str) -> str:
    """The path of a one-time sign-in link; without importing an HTTP library for one request."""
    address = url.removeprefix("http://")
    connection = http.client.HTTPConnection(address, timeout=10)
    try:
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        connection.request("POST", "/api/v1/login-links", b"{}", headers)
        answer = json.loads(connection.getresponse().read())
        return answer.get("path", "/login")
    except (OSError, ValueError, http.client.HTTPException):
        return "/login"
    finally:
        connection.close()
