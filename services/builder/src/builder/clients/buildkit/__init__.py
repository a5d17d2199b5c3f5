"""Our own asyncio client of BuildKit: steps, lines and progress as they happen, and the image in the engine's store.

It speaks BuildKit's control protocol over the Docker engine's `/grpc` and offers the session (context, secrets, registry
credentials) over `/session`. Cancelling the task cancels the build, and the engine kills what the step had started. gRPC and
protobuf are imported when the first build begins, not before.
"""

from __future__ import annotations

import asyncio
import importlib
import threading
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from builder.clients.buildkit.context import SUBFOLDER, Context, pack
from builder.clients.buildkit.failures import explain
from builder.clients.buildkit.transcript import Transcript
from builder.clients.engine import Engine, Image
from builder.domain.build import LABEL
from builder.domain.dockerfile import bases
from builder.domain.plan import Abilities, BuildPlan
from builder.domain.steps import Built, Counter, Event, Note, Step
from builder.errors import BuildError, EngineCannotBuild

STATUS_TAIL_SECONDS = 3.0


class BuildKit:
    """Builds images with one engine, and looks after those it built."""

    def __init__(self, socket: Path) -> None:
        self.engine = Engine(socket)
        self._abilities: Abilities | None = None

    async def ready(self) -> None:
        """Return when the engine answers. Raises EngineAway."""
        await self.engine.version()

    async def abilities(self) -> Abilities:
        """What the engine can do; asked once, and again after it was away. Raises EngineAway."""
        if self._abilities is None:
            version = await self.engine.version()
            self._abilities = Abilities(version, await self._has_buildkit())
        return self._abilities

    async def _has_buildkit(self) -> bool:
        # gRPC and protobuf take a quarter of a second to import; in a thread, other services go on meanwhile.
        await asyncio.to_thread(importlib.import_module, "builder.clients.buildkit.control")
        from grpclib.exceptions import GRPCError, ProtocolError, StreamTerminatedError

        from builder.clients.buildkit.control import Control

        control = Control(self.engine)
        try:
            return await control.workers() > 0
        except EngineCannotBuild:
            return False
        except (GRPCError, StreamTerminatedError, ProtocolError, OSError) as error:
            raise self.engine.away(f"its BuildKit does not answer ({error})") from error
        finally:
            control.close()

    async def build(self, plan: BuildPlan, *, job: Any = None) -> AsyncIterator[Event]:
        """Build an image: its events, the last of which is Built. Close the iterator (`aclosing`) when you leave early.

        Raises BuildError (`build.*`) when the source does not become an image, EngineAway when the engine goes away.
        """
        if not (await self.abilities()).buildkit:
            self._abilities = None
            raise EngineCannotBuild(str(self.engine.path))
        context = await _packed(plan)
        yield Note(_context_line(context))
        counter, transcript = Counter(), Transcript()
        response: dict[str, str] = {}
        async for event in self._solve(plan, context, transcript, response):
            yield event
            if isinstance(event, Step) and (told := counter.note(event)):
                yield told
        yield counter.finish()
        yield await self._built(response, counter, context)

    async def _solve(
        self, plan: BuildPlan, context: Context, transcript: Transcript, response: dict[str, str]
    ) -> AsyncIterator[Event]:
        """Run the build; fills `response` with what the exporter said."""
        from grpclib.exceptions import GRPCError, ProtocolError, StreamTerminatedError

        from builder.clients.buildkit.control import Control
        from builder.clients.buildkit.session import Session, offered

        session = Session(context.archive, secrets=plan.secrets, registries=plan.registries)
        reference = uuid.uuid4().hex
        events: asyncio.Queue[Event | None] = asyncio.Queue()

        async def follow(control: Control) -> None:
            async for status in control.status(reference):
                for event in transcript.feed(status):
                    events.put_nowait(event)

        async def solve(control: Control) -> dict[str, str]:
            following = None
            solving = asyncio.create_task(control.solve(reference, session.id, _attributes(plan, session.context)))
            try:
                await asyncio.sleep(0)  # the engine knows a build only once Solve was sent; Status goes out right after it
                following = asyncio.create_task(follow(control))
                await asyncio.wait([solving])
                await asyncio.wait([following], timeout=STATUS_TAIL_SECONDS)
                for event in transcript.end():
                    events.put_nowait(event)
                return await solving
            finally:
                tasks = [task for task in (solving, following) if task]
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                events.put_nowait(None)

        async with AsyncExitStack() as stack:
            await stack.enter_async_context(offered(self.engine, session))
            control = Control(self.engine)
            stack.callback(control.close)
            whole = asyncio.create_task(solve(control))
            try:
                while (event := await events.get()) is not None:
                    yield event
                response.update(await whole)
            except GRPCError as error:
                step, last = transcript.failed()
                raise explain(error.message or str(error), step, last, bases(context.dockerfile).outside) from None
            except (StreamTerminatedError, ProtocolError, OSError) as error:
                self._abilities = None
                raise self.engine.away("it went away in the middle of the build") from error
            finally:
                whole.cancel()
                await asyncio.gather(whole, return_exceptions=True)

    async def _built(self, response: dict[str, str], counter: Counter, context: Context) -> Built:
        name = response.get("containerimage.config.digest") or response.get("containerimage.digest", "")
        image = await self.engine.image(name) if name else None
        if image is None and (name := response.get("containerimage.digest", "")):
            image = await self.engine.image(name)
        if image is None:
            raise BuildError(
                "build.image_missing",
                "The engine says that it built the image and does not have it.",
                "Something may have removed it at once (a prune?); build again.",
            )
        digest = response.get("containerimage.digest")
        return Built(
            image_id=image.id,
            digest=image.digest or (digest if digest != image.id else None),
            size_bytes=image.size_bytes,
            steps=counter.steps,
            steps_cached=counter.cached,
            dockerfile=context.dockerfile,
            labels=image.labels,
        )

    async def tag(self, image_id: str, name: str, version: str) -> None:
        """Give an image its name and version."""
        await self.engine.tag(image_id, name, version)

    async def exists(self, image_id: str) -> bool:
        """Whether the engine has this image now."""
        return await self.engine.image(image_id) is not None

    async def remove(self, image_id: str) -> bool:
        """Remove an image; False when it was gone or is in use."""
        return await self.engine.remove(image_id)

    async def sweep(self, job: str, before: int) -> list[str]:
        """Remove what attempts at this job with a token below `before` left in the store. Returns the images' ids."""
        found = [image for image in await self.engine.images(job=job) if _token(image) < before]
        return [image.id for image in found if await self.engine.remove(image.id)]


def _token(image: Image) -> int:
    token = image.labels.get(f"{LABEL}.token", "0")
    return int(token) if token.isdigit() else 0


async def _packed(plan: BuildPlan) -> Context:
    """Pack in a thread, which stops soon after we are cancelled."""
    stop = threading.Event()
    try:
        return await asyncio.to_thread(pack, plan, stop)
    except asyncio.CancelledError:
        stop.set()
        raise


def _attributes(plan: BuildPlan, context: str) -> dict[str, str]:
    """The Dockerfile frontend's options."""
    attributes = {"context": context, "contextsubdir": SUBFOLDER, "filename": "Dockerfile"}
    attributes |= {f"label:{name}": value for name, value in plan.labels.items()}
    attributes |= {f"build-arg:{name}": value for name, value in plan.arguments.items()}
    if plan.target:
        attributes["target"] = plan.target
    if not plan.use_cache:
        attributes["no-cache"] = ""
    return attributes


def _context_line(context: Context) -> str:
    left = f", {context.left_out} left out by .dockerignore" if context.left_out else ""
    return f"Context: {context.files} files, {_size(context.size_bytes)} packed{left}"


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1_000_000 else f"{count / 1e3:.1f} kB"
