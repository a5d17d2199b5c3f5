"""The edge: one Traefik container per runtime, told what serves by files that are renamed into a folder it watches.

The engine keeps it running, so it outlives this process, which finds it again by name and configuration at the next start. Several
instances share one edge and its folder: what makes the container is done by one of them at a time, and files are put in whole.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import secrets
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from shared.exchange import exchange

from operator_proxy.clients import connections
from operator_proxy.clients.docker import Engine
from operator_proxy.clients.edge_image import ensure_image
from operator_proxy.domain import naming, routes
from operator_proxy.domain.health import Probe
from operator_proxy.domain.routes import Route
from operator_proxy.errors import EdgeNotServing, PortTaken
from operator_proxy.settings import OperatorProxySettings

PORTS = "kiops.ports"
FOLDER_INSIDE = "/kiops/routes"
LOGS = {"Type": "json-file", "Config": {"max-size": "5m", "max-file": "2"}}
START_SECONDS = 15
UNFINISHED_SECONDS = 60
"""A file that is being written for so long was left by a process that ended."""


class Edge:
    """One runtime's edge. `folder` is ours alone; its `routes` are what Traefik watches."""

    def __init__(self, engine: Engine, settings: OperatorProxySettings, platform: str, folder: Path) -> None:
        self.engine, self.settings, self.platform = engine, settings, platform
        self.name = naming.edge_name(platform)
        self.network = naming.network_name(platform)
        self.folder = folder / "routes"
        self._new = folder / "new"
        self._facts = folder
        self._word = ""
        self._lock = asyncio.Lock()
        self._joined = False
        self.ports: frozenset[int] = frozenset()

    # -- the container -----------------------------------------------------------------------------------------------
    async def ensure(self) -> bool:
        """Have the edge running as the settings want it. True when it had to be made or started.

        Raises PortTaken for the port of host names, EdgeBinaryMissing, EdgeNotServing, and what the engine raises.
        """
        async with self._lock, self._alone():
            self._prepare_folder()
            await self._join()
            image = self.settings.edge_image or await ensure_image(self.engine, self.settings.binary, self._facts)
            configuration = self._configuration(image, [self.settings.edge_port, *self.settings.pool])
            wanted = configuration["Labels"][naming.CONFIGURATION]
            found = await self.engine.inspect(self.name)
            labels = found["Config"]["Labels"] if found else {}
            if found and labels.get(naming.CONFIGURATION) == wanted:
                self.ports = frozenset(int(port) for port in labels.get(PORTS, "").split(",") if port)
                if found["State"]["Running"] and not found["State"].get("Paused"):
                    return False
                await self.engine.remove(found["Id"])  # stopped by hand or broken: a new one has its ports anew
            elif found:
                await self.engine.remove(found["Id"])
            await self._make(image)
            return True

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        """One process on this folder at a time; a lock of one that was killed is gone with it. Raises EdgeNotServing."""
        self._facts.mkdir(parents=True, exist_ok=True, mode=0o700)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + 2 * START_SECONDS
        handle = os.open(self._facts / "lock", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            while True:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if loop.time() > deadline:
                        raise EdgeNotServing("another instance is making the edge, and does not end") from None
                await asyncio.sleep(0.05)
            yield
        finally:
            os.close(handle)

    async def _make(self, image: str) -> None:
        await self._ensure_network()
        if not self._free(self.settings.edge_port):
            raise PortTaken(self.settings.edge_port)
        left_out: set[int] = set()
        while True:
            # A port of the pool that another program has is left out; without the one for host names there is no edge.
            pool = [port for port in self.settings.pool if port not in left_out and self._free(port)]
            configuration = self._configuration(image, [self.settings.edge_port, *pool])
            container = await self.engine.create(self.name, configuration)
            if container is None:
                raise EdgeNotServing(f"another container is called {self.name}")
            try:
                await self.engine.start(container)
            except PortTaken as error:
                await self.engine.remove(container)
                port = error.detail["port"]
                if port not in pool or port in left_out:
                    raise
                left_out.add(port)
                continue
            except BaseException:
                await asyncio.shield(self.engine.remove(container))
                raise
            self.ports = frozenset(pool)
            break
        deadline = asyncio.get_running_loop().time() + START_SECONDS
        while not await self.answering():
            state = (await self.engine.inspect(container) or {}).get("State") or {}
            if not state.get("Running") or asyncio.get_running_loop().time() > deadline:
                lines = await self.engine.log_tail(container)
                await self.engine.remove(container)
                raise EdgeNotServing(f"the edge did not answer within {START_SECONDS} s of its start", lines)
            await asyncio.sleep(0.05)

    async def _ensure_network(self) -> None:
        await self.engine.ensure_network(self.network, {naming.MANAGED: "true", naming.PLATFORM: self.platform})

    async def _join(self) -> None:
        """A process in a container reaches the edge in the releases' network, under the edge's name."""
        if self.settings.edge_volume and not self._joined:
            await self._ensure_network()
            await self.engine.join_network(self.network, socket.gethostname())
            self._joined = True

    def _free(self, port: int) -> bool:
        """Whether a port of the edge's address can be had. In a container only the engine can know, and says so at the start."""
        return bool(self.settings.edge_volume) or _free(self.settings.edge_address, port)

    def _configuration(self, image: str, ports: list[int]) -> dict[str, Any]:
        """The container as the engine wants it. Its fingerprint is of what was wanted, not of what other programs left free."""
        bindings = {f"{port}/tcp": [{"HostIp": self.settings.edge_address, "HostPort": str(port)}] for port in ports}
        wanted = [self.settings.edge_port, *self.settings.pool]
        volume = self.settings.edge_volume
        basis = {
            "Image": image,
            "User": f"{os.getuid()}:{os.getgid()}",
            "HostConfig": {
                # The engine knows folders of its own machine, not those of a container that asks: there it is a volume.
                "Binds": [f"{volume}:{FOLDER_INSIDE.rsplit('/', 1)[0]}:ro" if volume else f"{self.folder}:{FOLDER_INSIDE}:ro"],
                "NetworkMode": self.network,
                "RestartPolicy": {"Name": "unless-stopped"},
                "CapDrop": ["ALL"],
                "SecurityOpt": ["no-new-privileges"],
                "ReadonlyRootfs": True,
                "LogConfig": LOGS,
            },
        }
        arguments = routes.arguments(ports[0], ports[1:], self.settings.edge_throttle_ms, FOLDER_INSIDE)
        whole = routes.arguments(wanted[0], wanted[1:], self.settings.edge_throttle_ms, FOLDER_INSIDE)
        fingerprint = naming.digest(repr(basis), repr(whole), self.settings.edge_address, length=16)
        return (
            basis
            | {
                "Cmd": arguments,
                "ExposedPorts": {name: {} for name in bindings},
                "HostConfig": basis["HostConfig"] | {"PortBindings": bindings},  # type: ignore[operator]
                "Labels": {
                    naming.MANAGED: "true",
                    naming.PLATFORM: self.platform,
                    naming.ROLE: naming.EDGE_ROLE,
                    naming.CONFIGURATION: fingerprint,
                    PORTS: ",".join(str(port) for port in ports[1:]),
                },
            }
        )

    # -- asking it ---------------------------------------------------------------------------------------------------
    @property
    def reach(self) -> str:
        """The host at which this process reaches the edge."""
        if self.settings.edge_reach:
            return self.settings.edge_reach
        return self.name if self.settings.edge_volume else self.shown

    @property
    def shown(self) -> str:
        """The host under which this machine's own people reach the edge."""
        return "127.0.0.1" if self.settings.edge_address in ("0.0.0.0", "::", "") else self.settings.edge_address

    async def answering(self) -> bool:
        """Whether our edge (not whatever else has its port) answers just now."""
        headers = {routes.HEADER: self._own_word()}
        try:
            answer = await exchange((self.reach, self.settings.edge_port), "GET", "/ping", headers=headers, timeout_seconds=2)
        except (OSError, TimeoutError):
            return False
        return answer.status == 200 and answer.body == b"OK"

    def url(self, route: Route) -> str:
        """Where people find what this route leads to."""
        if route.port:
            at = self.shown if self.settings.edge_volume else self.reach
            shown = f"[{at}]" if ":" in at else at
            return f"http://{shown}:{route.port}/"
        return f"http://{route.host}:{self.settings.edge_port}/"

    async def probe(self, route: Route, path: str, *, port: int | None = None) -> Probe:
        """Ask, as people do but with the route's word, on the port of host names or another one."""
        port = port or self.settings.edge_port
        shown = route.host if port == self.settings.edge_port else self.reach
        headers = {"Host": f"{shown}:{port}", routes.HEADER: route.word, "User-Agent": "kiops-probe"}
        try:
            answer = await exchange(
                (self.reach, port),
                "GET",
                path if path.startswith("/") else f"/{path}",
                headers=headers,
                timeout_seconds=self.settings.probe_timeout_seconds,
                max_bytes=0,
            )
        except TimeoutError:
            return Probe(trouble=f"no answer within {self.settings.probe_timeout_seconds:g} s")
        except OSError as error:
            return Probe(trouble=f"the edge does not answer: {error}", edge_away=True)
        return Probe(answer.status, answer.headers.get(routes.ANSWERED_BY.lower(), ""))

    async def wait_until_served(self, route: Route, path: str) -> None:
        """Return when the edge serves this route wherever it leads. Raises EdgeNotServing after `switch_seconds`."""
        places = [self.settings.edge_port, *([route.port] if route.port else [])]
        try:
            async with asyncio.timeout(self.settings.switch_seconds):
                for port in places:
                    while (await self.probe(route, path, port=port)).answered_by != route.answered_by:  # noqa: ASYNC110
                        await asyncio.sleep(0.02)
        except TimeoutError:
            lines = await self.engine.log_tail(self.name)
            what = f"the edge did not take up the route of {route.host} within {self.settings.switch_seconds:g} s"
            raise EdgeNotServing(what, lines) from None

    async def open_requests(self, container: str) -> int | None:
        """Requests that a container is still answering on its exposed ports; None where that cannot be seen."""
        found = await self.engine.inspect(container)
        if found is None or not found["State"]["Running"]:
            return 0
        ports = {int(name.split("/")[0]) for name in found["Config"].get("ExposedPorts") or {}}
        return connections.of_container(found["Id"], found["State"]["Pid"], ports)

    # -- routes ------------------------------------------------------------------------------------------------------
    def routes(self) -> list[Route]:
        """Every route there is, candidates too."""
        found = (Route.read(file.read_text()) for file in sorted(self.folder.glob("*.yml")))
        return [route for route in found if route]

    def route(self, key: str) -> Route | None:
        """What serves a target."""
        try:
            return Route.read((self.folder / f"{key}.yml").read_text())
        except FileNotFoundError:
            return None

    def write(self, route: Route) -> None:
        """Put a route in force: whole or not at all, and still there after the power fails."""
        self._replace(route.file, route.text())

    def withdraw(self, route: Route) -> None:
        """Take a route away. Nothing when it is not there."""
        (self.folder / route.file).unlink(missing_ok=True)
        _sync(self.folder)

    @staticmethod
    def candidate(route: Route) -> Route:
        """The route on which only the probe finds the same container; by a word of its own, because it is there until the
        route itself is seen to be in force."""
        return replace(route, candidate=True, word=f"{route.word}-candidate")

    @staticmethod
    def with_new_word(route: Route) -> Route:
        """The route with a word that only we know."""
        return replace(route, word=secrets.token_hex(16))

    # -- the folder --------------------------------------------------------------------------------------------------
    def _prepare_folder(self) -> None:
        for folder in (self.folder, self._new):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._own_word()

    def _own_word(self) -> str:
        if not self._word:
            file = self.folder / "edge.yml"
            self._word = routes.own_word(file.read_text()) if file.exists() else ""
            if not self._word:
                draft = self._draft(file.name, routes.own_text(secrets.token_hex(16)))
                with contextlib.suppress(FileExistsError):  # another instance was quicker: its word counts
                    os.link(draft, file)
                draft.unlink(missing_ok=True)
                _sync(self.folder)
                self._word = routes.own_word(file.read_text())
            if not self._word:  # somebody wrote something else there
                self._word = secrets.token_hex(16)
                self._replace(file.name, routes.own_text(self._word))
        return self._word

    def clear_unfinished(self) -> None:
        """Remove what was being written when an earlier process ended, but nothing that another instance writes just now."""
        over = time.time() - UNFINISHED_SECONDS
        for file in self._new.glob("*") if self._new.exists() else ():
            writer = Path("/proc", file.suffix.removeprefix(".").partition("-")[0])
            with contextlib.suppress(FileNotFoundError):
                if not writer.exists() or file.stat().st_mtime < over:
                    file.unlink()

    def _replace(self, name: str, text: str) -> None:
        os.replace(self._draft(name, text), self.folder / name)
        _sync(self.folder)

    def _draft(self, name: str, text: str) -> Path:
        """A file on its way into the folder, written whole."""
        self._new.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = self._new / f"{name}.{os.getpid()}-{secrets.token_hex(4)}"
        with open(draft, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        return draft


def _sync(folder: Path) -> None:
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _free(address: str, port: int) -> bool:
    """Whether a port can be listened on here. An address that is not this machine's is for the engine to judge."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((address, port))
        except OSError as error:
            return error.errno != errno.EADDRINUSE
    return True
