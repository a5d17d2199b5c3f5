"""What goes wrong between a release and its runtime.

Unavailable
├── EngineAway            engine.away                  the engine does not answer; tried again (shared.engine)
└── EngineBusy            engine.failed                the engine could not, for a reason of its own; tried again
Rejected
├── EngineRefused         engine.refused               the engine says that it was asked wrongly
├── ImageGone             image.gone                   the image is not in the engine's store any more
├── PortTaken             port.taken                   another program listens on a port of the edge
├── PortsUsedUp           port.none_left               every entry port of the pool is given away
├── ContainerExited       container.exited             the new container ended by itself
│   └── OutOfMemory       container.out_of_memory      ... because it used more memory than it may
├── NotStartable          container.not_startable      the engine cannot run the image's command
├── ContainerUnhealthy    container.unhealthy          it runs, and does not answer well in time
├── EdgeBinaryMissing     edge.binary_missing          there is no Traefik to make the edge of
├── EdgeNotServing        edge.not_serving             the edge does not answer, or does not take up a route
└── FenceOvertaken        release.superseded_by_fence  a newer order for the same target was obeyed
"""

from __future__ import annotations

from collections.abc import Sequence

from shared.errors import Rejected, Unavailable


class EngineBusy(Unavailable):
    def __init__(self, what: str, message: str) -> None:
        super().__init__(
            "engine.failed",
            f"the container engine could not {what}: {message}",
            "It is tried again by itself. If it stays, the engine's own log says more.",
        )


class EngineRefused(Rejected):
    def __init__(self, what: str, message: str, http_status: int) -> None:
        super().__init__(
            "engine.refused",
            f"the container engine refused to {what}: {message}",
            "The message is the engine's own; mend what it names and deploy again.",
            http_status=http_status,
        )


class ImageGone(Rejected):
    def __init__(self, image: str) -> None:
        super().__init__(
            "image.gone",
            f"image {image} is not in the engine's store any more",
            "Build the commit again, or choose a release whose image is still there.",
            image=image,
        )


class PortTaken(Rejected):
    def __init__(self, port: int, message: str = "") -> None:
        super().__init__(
            "port.taken",
            f"port {port} is taken by another program" + (f" ({message})" if message else ""),
            "Stop that program, or give the edge another port (OPERATOR_PROXY_EDGE_PORT, OPERATOR_PROXY_POOL_FIRST_PORT).",
            port=port,
        )


class PortsUsedUp(Rejected):
    def __init__(self, first: int, last: int) -> None:
        super().__init__(
            "port.none_left",
            f"no port from {first} to {last} is left for another service of its own port",
            "Remove a deploy target that is not needed, or let the service be reached by its name only.",
        )


def _tail(lines: Sequence[str]) -> str:
    return "Its last lines: " + " | ".join(lines) if lines else "It wrote nothing."


class ContainerExited(Rejected):
    def __init__(self, container: str, exit_code: int, lines: Sequence[str], *, code: str = "container.exited") -> None:
        super().__init__(
            code,
            f"container {container} ended with exit code {exit_code}",
            f"Run the image by hand to see why it does not stay. {_tail(lines)}",
            exit_code=exit_code,
            lines=list(lines),
        )


class OutOfMemory(ContainerExited):
    def __init__(self, container: str, exit_code: int, lines: Sequence[str], memory_mb: int) -> None:
        super().__init__(container, exit_code, lines, code="container.out_of_memory")
        self.message = f"container {container} used more than its {memory_mb} MiB of memory and was ended"
        self.args = (self.message,)
        self.advice = f"Let it use less, or allow more (OPERATOR_PROXY_MEMORY_MB). {_tail(lines)}"


class NotStartable(Rejected):
    def __init__(self, container: str, message: str) -> None:
        super().__init__(
            "container.not_startable",
            f"container {container} could not be started: {message}",
            "Look at ENTRYPOINT and CMD of the Dockerfile: the file must exist in the image and be executable.",
        )


class ContainerUnhealthy(Rejected):
    def __init__(self, container: str, seconds: float, seen: str, port: int, path: str, lines: Sequence[str] = ()) -> None:
        super().__init__(
            "container.unhealthy",
            f"container {container} did not become healthy within {seconds:.0f} s: {seen}",
            f"It must listen on 0.0.0.0:{port} and answer GET {path} with a status from 200 to 399. {_tail(lines)}",
            seen=seen,
            lines=list(lines),
        )


class EdgeBinaryMissing(Rejected):
    def __init__(self, path: str) -> None:
        super().__init__(
            "edge.binary_missing",
            f"there is no Traefik binary at {path}",
            "`./kiops up` fetches it; or name an image of your own (OPERATOR_PROXY_EDGE_IMAGE).",
            path=path,
        )


class EdgeNotServing(Rejected):
    def __init__(self, what: str, lines: Sequence[str] = ()) -> None:
        super().__init__(
            "edge.not_serving",
            what,
            f"`kiops doctor` looks at the edge; `docker logs` of its container says more. {_tail(lines)}",
            lines=list(lines),
        )


class FenceOvertaken(Rejected):
    def __init__(self, given: int, newest: int) -> None:
        super().__init__(
            "release.superseded_by_fence",
            f"order {given} for this target came after order {newest}, which is newer, was obeyed",
            "Nothing is to be done: the newer release is in place or on its way.",
            given=given,
            newest=newest,
        )
