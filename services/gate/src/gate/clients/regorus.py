"""Rego in a worker process of our own: started when first needed, warm for a while, limited in memory and time."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import json
import struct
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gate.clients.bundle import Bundle
from gate.errors import EngineProblem

WORKER = Path(__file__).with_name("regorus_worker.py")
SETPRIV = "/usr/bin/setpriv"
FRAME_LIMIT = 64 * 1024 * 1024


class EmbeddedRegorus:
    """One worker process, one evaluation at a time.

    regorus holds the interpreter's lock while it works, so it never runs in our own process. The worker has an empty
    environment, dies with us, and is ended after `idle_seconds` without work, because an idle one costs about 20 MB.
    """

    def __init__(
        self,
        *,
        wall_seconds: float = 10,
        cpu_seconds: int = 5,
        memory_bytes: int = 512 * 1024 * 1024,
        idle_seconds: float = 30,
        argv: Sequence[str] | None = None,
    ) -> None:
        self.wall_seconds, self.cpu_seconds, self.idle_seconds = wall_seconds, cpu_seconds, idle_seconds
        self.memory_bytes = memory_bytes
        self.name = f"regorus {importlib.metadata.version('gordon-to-regorus')}"
        self._argv = argv or (sys.executable, "-I", str(WORKER), str(memory_bytes), str(cpu_seconds))
        self._process: asyncio.subprocess.Process | None = None
        self._lock = asyncio.Lock()
        self._idle: asyncio.TimerHandle | None = None
        self._ending: set[asyncio.Task[None]] = set()

    @property
    def pid(self) -> int | None:
        """The worker's process id while there is one."""
        return self._process.pid if self._process and self._process.returncode is None else None

    async def ask(self, bundle: Bundle, document: dict[str, Any]) -> Any:
        """What the bundle's entry rule says of the document. Raises EngineProblem."""
        async with self._lock:
            self._stay()
            try:
                reply = await asyncio.wait_for(self._evaluate(bundle, document), self.wall_seconds)
            except TimeoutError as error:
                await self._end()
                raise EngineProblem("policy.timeout", f"the policy did not answer within {self.wall_seconds:g} s") from error
            except BaseException:
                # Half a frame may be on its way: this worker cannot be asked again.
                await self._end()
                raise
            self._leave_later()
        if "result" in reply:
            return reply["result"]
        if "error" in reply:
            raise EngineProblem("policy.error", f"the policy failed: {reply['error']}")
        raise EngineProblem("policy.undefined", "the policy says nothing about this input")

    async def check(self) -> None:
        """The worker is started on demand: all that can be missing is the program itself."""
        if not WORKER.exists():
            raise EngineProblem("policy.crashed", "the worker's program is not there")

    async def close(self) -> None:
        async with self._lock:
            self._stay()
            await self._end()
        await asyncio.gather(*self._ending, return_exceptions=True)

    async def _evaluate(self, bundle: Bundle, document: dict[str, Any]) -> dict[str, Any]:
        request = {"rule": bundle.entry, "input": document, "hash": bundle.hash}
        reply = await self._exchange(request)
        if reply.get("unknown"):
            reply = await self._exchange({**request, "modules": bundle.modules, "data": bundle.data})
        return reply

    async def _exchange(self, request: dict[str, Any]) -> dict[str, Any]:
        process = await self._started()
        assert process.stdin and process.stdout
        body = json.dumps(request).encode()
        try:
            process.stdin.write(struct.pack(">I", len(body)) + body)
            await process.stdin.drain()
            length = struct.unpack(">I", await process.stdout.readexactly(4))[0]
            if length > FRAME_LIMIT:
                raise EngineProblem("policy.wrong_shape", f"the worker announced an answer of {length} bytes")
            reply = json.loads(await process.stdout.readexactly(length))
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            code = await process.wait()
            raise EngineProblem("policy.crashed", f"the policy worker ended {_how(code)}") from error
        except ValueError as error:
            raise EngineProblem("policy.wrong_shape", "the worker's answer is not JSON") from error
        if not isinstance(reply, dict):
            raise EngineProblem("policy.wrong_shape", "the worker's answer is not an object")
        return reply

    async def _started(self) -> asyncio.subprocess.Process:
        if self._process is None or self._process.returncode is not None:
            # setpriv asks the kernel to kill the worker when we die, which the end of its pipe alone would not do while
            # it computes.
            self._process = await asyncio.create_subprocess_exec(
                SETPRIV,
                "--pdeathsig",
                "KILL",
                "--",
                *self._argv,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                env={},
                start_new_session=True,
                limit=FRAME_LIMIT,
            )
        return self._process

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()

    def _stay(self) -> None:
        if self._idle:
            self._idle.cancel()
            self._idle = None

    def _leave_later(self) -> None:
        self._idle = asyncio.get_running_loop().call_later(self.idle_seconds, self._leave)

    def _leave(self) -> None:
        if self._lock.locked():
            return
        task = asyncio.ensure_future(self._end())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)


def _how(code: int) -> str:
    # Rust aborts when it gets no memory; Python raises MemoryError, for which the worker has an exit code of its own.
    memory = "because it used up its memory"
    words = {-24: "because it used up its processor time", -9: "because it was killed", -6: memory, 70: memory}
    return words.get(code, f"with code {code}")
