"""A release is put in place in four steps; after a crash the next attempt begins by looking at what the last one left."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from operator_proxy.domain.naming import Mark, Target
from operator_proxy.domain.routes import Route

STEPS = ("start", "probe", "switch", "drain")


@dataclass(frozen=True)
class Wanted:
    """What an order asks for: this release in this target. Times in seconds."""

    organisation: str
    service: str
    service_name: str
    environment: str
    runtime: str
    run: str
    release: str
    number: int
    fence: int
    image: str
    image_id: str
    container_port: int
    health_path: str
    own_port: bool
    variables: dict[str, str]
    deadline_seconds: int
    drain_seconds: int
    observe_seconds: int

    @property
    def target(self) -> Target:
        return Target(self.organisation, self.service, self.environment)

    @property
    def name(self) -> str:
        """What people call the release: `shop-3`."""
        return f"{self.service_name}-{self.number}"

    @property
    def environment_variables(self) -> list[str]:
        """As an engine wants them; PORT is set unless the order sets it."""
        return [f"{name}={value}" for name, value in ({"PORT": str(self.container_port)} | self.variables).items()]


@dataclass(frozen=True)
class Seen:
    """A release's container as the engine shows it."""

    id: str
    name: str
    mark: Mark
    image_id: str
    running: bool
    created_at: float = 0.0


@dataclass(frozen=True)
class Found:
    """What there is to begin with. `keep` is this release's own container, already switched to or to be probed; `before` is what
    serves until the switch (or did, and is to be drained); `leftovers` serve nobody."""

    switched: bool = False
    keep: Seen | None = None
    before: list[Seen] = field(default_factory=list)
    leftovers: list[Seen] = field(default_factory=list)


def look(release: str, fence: int, image_id: str, containers: Sequence[Seen], route: Route | None) -> Found:
    """Sort the containers of a target: the route's file says what serves, the labels say whose each one is."""

    def mine(seen: Seen) -> bool:
        return (seen.mark.release, seen.mark.fence) == (release, fence)

    def usable(seen: Seen) -> bool:
        return mine(seen) and seen.running and seen.image_id == image_id

    routed = next((seen for seen in containers if route and seen.id == route.container), None)
    if routed and usable(routed):
        rest = [seen for seen in containers if seen is not routed]
        return Found(
            switched=True,
            keep=routed,
            before=[seen for seen in rest if not mine(seen)],
            leftovers=[seen for seen in rest if mine(seen)],
        )
    before = [routed] if routed and not mine(routed) else []
    fit = [seen for seen in containers if usable(seen)]
    keep = max(fit, key=lambda seen: seen.mark.token, default=None)
    return Found(keep=keep, before=before, leftovers=[seen for seen in containers if seen is not keep and seen not in before])


def strays(containers: Sequence[Seen], known: Collection[tuple[str, int]]) -> list[Seen]:
    """The containers of releases (release, fence) that are neither in place nor on their way."""
    return [seen for seen in containers if (seen.mark.release, seen.mark.fence) not in known]


def stray_routes(routes: Sequence[Route], known: Collection[tuple[str, int]], on_their_way: Collection[str]) -> list[Route]:
    """Routes of releases that nobody knows, and candidates that nobody probes. A target on its way (by key) is left alone."""
    return [
        route
        for route in routes
        if route.key not in on_their_way and (route.candidate or (route.release, route.fence) not in known)
    ]


def drained_text(open_requests: int | None, seconds: float, had_before: bool) -> str:
    """How the drain went, in words. `open_requests` is what was still open at its end, None where that cannot be seen."""
    if not had_before:
        return "nothing to drain"
    if open_requests:
        return f"{open_requests} still open after {seconds:.1f} s, ended with the old container"
    return "nothing to drain" if seconds < 1 else f"drained in {seconds:.1f} s"
