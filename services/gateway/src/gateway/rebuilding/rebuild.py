"""A rebuild as the gateway runs it: a process of its own projects all facts into fresh tables; then they are switched."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from dataclasses import dataclass
from typing import Any, Literal

from shared.bus import EVENTS, REBUILD
from shared.errors import KiopsError, Rejected, Unavailable
from shared.hosting import Host
from shared.processes import MARK, SYSTEM_PATH

from gateway.rebuilding.fresh import Place
from gateway.rebuilding.serving import ReadModel
from gateway.rebuilding.task import Task
from shared import logging, tasks

LINE_BYTES = 1 << 16
NEAR = 500
"""So many facts behind, the switch need not wait: they are read in a moment."""
TRIES = 6
"""So often the switch is tried on a machine that has no time for it; between two tries pushes are handled as ever."""


@dataclass
class Progress:
    """How a rebuild stands. Positions are of the stream; times are epoch milliseconds."""

    state: Literal["never", "running", "done", "failed"] = "never"
    position: int = 0
    of: int = 0
    began_at_ms: int | None = None
    ended_at_ms: int | None = None
    code: str = ""
    reason: str = ""


class Rebuilding:
    """One rebuild at a time."""

    def __init__(self, host: Host, read: ReadModel) -> None:
        self._host, self._read = host, read
        self._task: asyncio.Task[None] | None = None
        self._log = logging.get("gateway")
        self.progress = Progress()

    def start(self) -> Progress:
        """Begin one. Raises Rejected `rebuild.running`, Unavailable `bus.away`."""
        if self._task is not None and not self._task.done():
            raise Rejected("rebuild.running", "the read model is being rebuilt already", "Wait until that is done.")
        if not self._host.bus.connected:
            raise Unavailable("bus.away", "nats-server does not answer", "Try again when it does.")
        self.progress = Progress("running", began_at_ms=self._host.clock.now_ms())
        self._task = asyncio.create_task(self._run(), name="gateway rebuild")
        return self.progress

    async def close(self) -> None:
        """Give up what runs: the tables that serve go on serving."""
        await tasks.end(self._task)

    async def _run(self) -> None:
        try:
            await self._rebuild()
            self.progress.state = "done"
            took = self._host.clock.now_ms() - (self.progress.began_at_ms or 0)
            self._log.info("the read model is rebuilt", position=self.progress.position, ms=took)
        except asyncio.CancelledError:
            self._failed("rebuild.cancelled", "the gateway ended")
            raise
        except KiopsError as error:
            self._failed(error.code, error.message)
        except Exception as error:
            self._log.exception("a rebuild broke")
            self._failed("rebuild.broken", f"{type(error).__name__}: {error}")
        finally:
            self.progress.ended_at_ms = self._host.clock.now_ms()

    def _failed(self, code: str, reason: str) -> None:
        self.progress.state, self.progress.code, self.progress.reason = "failed", code, reason
        self._log.error("the read model was not rebuilt; the one that serves goes on", code=code, error=reason)

    async def _rebuild(self) -> None:
        bus = self._host.bus
        stream = await bus.api_call(f"STREAM.INFO.{EVENTS}")
        await bus.api_call(f"CONSUMER.RESET.{EVENTS}.{REBUILD['gateway']}", {"seq": 1})
        async with self._read.fresh() as place, self._child(place, stream["created"]) as child:
            for left in reversed(range(TRIES)):
                await self._catch_up(child)
                try:
                    position = await self._read.switch(place, child.safe_at)
                    break
                except Unavailable as error:
                    if error.code != "rebuild.switch" or not left:
                        raise
                    self._log.warning("the switch to the rebuilt read model is tried again", error=error.message, tries_left=left)
            self.progress.position = self.progress.of = position

    async def _catch_up(self, child: Child) -> None:
        """Bring the fresh tables so near to those that serve that writers need not wait long for the rest."""
        reached = -1
        while (position := await self._read.position()) - reached > NEAR or reached < 0:
            self.progress.of = position
            await child.until(position)
            reached = position

    def _child(self, place: Place, created: str) -> Child:
        bus = self._host.bus
        task = Task(bus.url, str(bus.seed), bus.api, created, place.file, place.url, place.schema)
        return Child(task, self._host.mark.value(), self._note)

    def _note(self, told: dict[str, Any]) -> None:
        self.progress.position = told["done"]


class Child:
    """The process that makes the fresh tables. Killed when the block ends: what it made safe needs nothing more of it."""

    def __init__(self, task: Task, mark: str, note: Any) -> None:
        self._task, self._mark, self._note = task, mark, note
        self._process: asyncio.subprocess.Process | None = None
        self._errors: asyncio.Task[bytes] | None = None

    async def __aenter__(self) -> Child:
        # The reading may use what is left of the machine, not what pages and pushes need; it dies when we do.
        program = [sys.executable, "-m", "gateway.rebuilding"]
        self._process = await asyncio.create_subprocess_exec(
            *["/usr/bin/nice", "-n", "5", "/usr/bin/setpriv", "--pdeathsig", "KILL", "--", *program],
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={"PATH": SYSTEM_PATH, "PYTHONUNBUFFERED": "1", **_python_path(), MARK: self._mark},
            start_new_session=True,
            limit=LINE_BYTES,
        )
        assert self._process.stderr
        self._errors = asyncio.create_task(self._process.stderr.read())
        await self._say(self._task.line())
        return self

    async def __aexit__(self, *_: object) -> None:
        process = self._process
        assert process
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        if self._errors:
            await self._errors

    async def _say(self, line: str) -> None:
        assert self._process and self._process.stdin
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._process.stdin.write(line.encode() + b"\n")
            await self._process.stdin.drain()

    async def until(self, position: int) -> None:
        """Wait until the fresh tables stand there. Raises Unavailable `rebuild.process` with the process's last words."""
        await self._say(json.dumps({"until": position}))
        await self._hear("at", position)

    async def safe_at(self, position: int) -> None:
        """The same, and wait until all of it is on disk."""
        await self.until(position)
        await self._say(json.dumps({"safe": position}))
        await self._hear("safe", position)

    async def _hear(self, word: str, position: int) -> None:
        """Wait for this answer. Those to what was asked before, and not waited for, are passed over."""
        assert self._process and self._process.stdout
        while line := await self._process.stdout.readline():
            told = json.loads(line)
            if told.get(word, -1) >= position:
                return
            if "done" in told:
                self._note(told)
        await self._gone()

    async def _gone(self) -> None:
        assert self._process and self._errors
        code = await self._process.wait()
        words = (await self._errors).decode("utf-8", "replace").strip().splitlines()
        raise Unavailable(
            "rebuild.process", f"the rebuilding process ended with {code}: {words[-1] if words else 'without a word'}"
        )


def _python_path() -> dict[str, str]:
    return {"PYTHONPATH": os.environ["PYTHONPATH"]} if "PYTHONPATH" in os.environ else {}
