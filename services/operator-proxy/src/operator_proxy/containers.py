"""The containers of releases, as the engine shows them in our words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from shared.masking import Masker

from operator_proxy.clients.docker import Engine
from operator_proxy.domain import naming
from operator_proxy.domain.naming import Mark, Target
from operator_proxy.domain.placing import Seen
from operator_proxy.errors import ContainerExited, OutOfMemory


async def look_at(engine: Engine, platform: str, target: Target | None = None) -> list[Seen]:
    """The platform's release containers, running or not; of one target or all."""
    labels = [f"{naming.PLATFORM}={platform}", f"{naming.ROLE}={naming.RELEASE_ROLE}"]
    if target:
        labels += [
            f"kiops.organisation={target.organisation}",
            f"kiops.service={target.service}",
            f"kiops.environment={target.environment}",
        ]
    found = []
    for row in await engine.containers(*labels):
        if mark := Mark.read(row["Labels"]):
            name = row["Names"][0].lstrip("/") if row["Names"] else row["Id"][:12]
            found.append(Seen(row["Id"], name, mark, row["ImageID"], row["State"] == "running", row["Created"]))
    return found


def mask_lines(lines: Sequence[str], variables: Mapping[str, str]) -> list[str]:
    """Log lines without the values of variables whose name says that they are secret."""
    masker = Masker()
    for name, value in variables.items():
        if any(word in name.upper() for word in ("SECRET", "TOKEN", "PASSWORD", "PASSWD", "KEY", "CREDENTIAL", "DSN")):
            masker.add(value)
    return [masker.mask(line) for line in lines]


async def ended(engine: Engine, container: Seen, memory_mb: int, variables: Mapping[str, str]) -> ContainerExited | None:
    """Why a container does not run any more; None while it does."""
    found = await engine.inspect(container.id)
    if found is None:
        return ContainerExited(container.name, -1, ["it was removed by somebody else"])
    state = found["State"]
    if state["Running"]:
        return None
    lines = mask_lines(await engine.log_tail(container.id), variables)
    if state.get("OOMKilled"):
        return OutOfMemory(container.name, state["ExitCode"], lines, memory_mb)
    return ContainerExited(container.name, state["ExitCode"], lines)
