"""What the edge is told of a target: one file per target, which is the truth of what serves.

The first line is a comment that says whose the route is; the rest is JSON, which is YAML too (Traefik's folder provider reads
.yml and ignores .json). Everything that must change together is in the one file, so a switch is one rename.

Two routers lead to the container: the one people use, and one that only we know (a header with a random word), which takes the
same way and adds the release to its answer. That is how a probe knows who answered, without showing anything to people.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

HEADER = "X-Kiops-Probe"
ANSWERED_BY = "X-Kiops-Answered-By"
_FIRST = "# kiops "

# Traefik prefers longer rules by default; ours say it, because a host name may be longer than our header.
_PUBLIC, _PROBE = 10, 100


@dataclass(frozen=True)
class Route:
    """Which container serves a target, and where people find it. `port` is its entry port, 0 for none. `candidate` marks the
    route of a container that is being probed: nobody but the probe finds it."""

    key: str
    organisation: str
    service: str
    environment: str
    release: str
    number: int
    fence: int
    container: str
    alias: str
    container_port: int
    host: str
    port: int
    word: str
    candidate: bool = False

    @property
    def file(self) -> str:
        return f"{self.key}.candidate.yml" if self.candidate else f"{self.key}.yml"

    @property
    def answered_by(self) -> str:
        """What a probe's answer says of itself when this route served it."""
        return f"{self.release}/{self.fence}/{self.alias}"

    def text(self, entry_point: str = "web") -> str:
        """The file's content."""
        name = f"{self.key}-candidate" if self.candidate else self.key
        places = [(entry_point, f"Host(`{self.host}`)")]
        if self.port:
            places.append((port_entry(self.port), "PathPrefix(`/`)"))
        routers: dict[str, Any] = {}
        for place, rule in places:
            if not self.candidate:
                routers[f"{name}-{place}"] = {
                    "entryPoints": [place],
                    "rule": rule,
                    "priority": _PUBLIC,
                    "service": name,
                }
            routers[f"{name}-{place}-probe"] = {
                "entryPoints": [place],
                "rule": f"{rule} && Header(`{HEADER}`, `{self.word}`)",
                "priority": _PROBE,
                "service": name,
                "middlewares": [f"{name}-answer"],
            }
        http = {
            "routers": routers,
            "middlewares": {
                f"{name}-answer": {
                    "headers": {
                        "customRequestHeaders": {HEADER: ""},
                        "customResponseHeaders": {ANSWERED_BY: self.answered_by},
                    }
                }
            },
            "services": {name: {"loadBalancer": {"servers": [{"url": f"http://{self.alias}:{self.container_port}"}]}}},
        }
        return f"{_FIRST}{json.dumps(asdict(self))}\n{json.dumps({'http': http}, indent=1)}\n"

    @classmethod
    def read(cls, text: str) -> Route | None:
        """The route a file describes, None when it is not one of ours."""
        first = text.split("\n", 1)[0]
        if not first.startswith(_FIRST):
            return None
        try:
            return cls(**json.loads(first.removeprefix(_FIRST)))
        except (ValueError, TypeError):
            return None


def port_entry(port: int) -> str:
    """The name of an entry point of the pool."""
    return f"port-{port}"


def own_text(word: str) -> str:
    """The edge's own file: its ping, for whoever knows the word."""
    router = {
        "entryPoints": ["web"],
        "rule": f"Path(`/ping`) && Header(`{HEADER}`, `{word}`)",
        "priority": 1000,
        "service": "ping@internal",
    }
    return f"# kiops edge {word}\n{json.dumps({'http': {'routers': {'kiops-edge': router}}}, indent=1)}\n"


def own_word(text: str) -> str:
    """The word in the edge's own file, "" when there is none."""
    first = text.split("\n", 1)[0].split(" ")
    return first[3] if first[:3] == ["#", "kiops", "edge"] and len(first) == 4 else ""


def arguments(edge_port: int, pool: Sequence[int], throttle_ms: int, folder: str = "/kiops/routes") -> list[str]:
    """Traefik's static configuration. Entry points are fixed here: one named later does not exist."""
    points = {"web": edge_port} | {port_entry(port): port for port in pool}
    return [
        "--global.checknewversion=false",
        "--global.sendanonymoususage=false",
        "--log.level=WARN",
        "--log.nocolor=true",
        "--ping.manualrouting=true",
        f"--providers.file.directory={folder}",
        "--providers.file.watch=true",
        f"--providers.providersthrottleduration={throttle_ms}ms",
        # A connection to a container that nobody uses is closed after a second: what is left open during a drain is a request.
        "--serverstransport.forwardingtimeouts.idleconntimeout=1s",
        *(
            argument
            for name, port in points.items()
            for argument in (
                f"--entrypoints.{name}.address=:{port}",
                # The default of 60 s for a whole request would cut slow uploads.
                f"--entrypoints.{name}.transport.respondingtimeouts.readtimeout=3600s",
                # X_Forwarded_For and the like would reach a container as if the edge had set X-Forwarded-For.
                f"--entrypoints.{name}.http.aliasheadersstrategy=delete",
            )
        ),
    ]
