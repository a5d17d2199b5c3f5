"""How containers, routes and hosts are called, and the labels by which they are found again."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

MANAGED = "kiops.managed"
PLATFORM = "kiops.platform"
ROLE = "kiops.role"
CONFIGURATION = "kiops.configuration"

RELEASE_ROLE, EDGE_ROLE = "release", "edge"
LONGEST_LABEL = 63


def slug(text: str) -> str:
    """A text as a part of a DNS label: lower-case letters, digits and single hyphens. "x" when nothing is left."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "x"


def digest(*parts: str, length: int = 8) -> str:
    """A short fingerprint of these texts."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:length]


@dataclass(frozen=True)
class Target:
    """A service's environment: what a release is put into."""

    organisation: str
    service: str
    environment: str

    @property
    def key(self) -> str:
        """One word for it, in job keys, file names and router names."""
        return f"{slug(self.environment)[:30]}-{digest(self.organisation, self.service, self.environment, length=16)}"


def host(service_name: str, environment: str, domain: str, *, told_apart_by: str = "") -> str:
    """`<service>-<environment>.<domain>`. `told_apart_by` is added where the short name is another target's already."""
    label = f"{slug(service_name)}-{slug(environment)}"
    if told_apart_by or len(label) > LONGEST_LABEL:
        tail = digest(service_name, environment, told_apart_by, length=6)
        label = f"{label[: LONGEST_LABEL - 7].rstrip('-')}-{tail}"
    return f"{label}.{domain}"


def container_name(platform: str, service_name: str, environment: str, number: int, fence: int | None = None) -> str:
    """`kiops-<platform>-<service>-<environment>-<release number>`; with a fence when that name serves already."""
    name = f"kiops-{platform}-{slug(service_name)[:60]}-{slug(environment)[:40]}-{number}"
    return name if fence is None else f"{name}-{fence}"


def alias(release: str, fence: int, token: int) -> str:
    """The name under which the edge finds a container: a DNS label that no other container ever has."""
    return f"r-{digest(release, str(fence), str(token), length=24)}"


def edge_name(platform: str) -> str:
    """The edge's container."""
    return f"kiops-{platform}-edge"


def network_name(platform: str) -> str:
    """The network of the edge and everything behind it."""
    return f"kiops-{platform}"


@dataclass(frozen=True)
class Mark:
    """Whose container this is, written on it as labels."""

    platform: str
    organisation: str
    service: str
    environment: str
    release: str
    number: int
    fence: int
    job: str
    token: int

    def labels(self) -> dict[str, str]:
        return {
            MANAGED: "true",
            PLATFORM: self.platform,
            ROLE: RELEASE_ROLE,
            "kiops.organisation": self.organisation,
            "kiops.service": self.service,
            "kiops.environment": self.environment,
            "kiops.release": self.release,
            "kiops.release-number": str(self.number),
            "kiops.fence": str(self.fence),
            "kiops.job": self.job,
            "kiops.token": str(self.token),
        }

    @property
    def target(self) -> Target:
        return Target(self.organisation, self.service, self.environment)

    @classmethod
    def read(cls, labels: Mapping[str, str]) -> Mark | None:
        """What the labels say, None when they are not those of a release."""
        if labels.get(ROLE) != RELEASE_ROLE:
            return None
        try:
            return cls(
                labels[PLATFORM],
                labels["kiops.organisation"],
                labels["kiops.service"],
                labels["kiops.environment"],
                labels["kiops.release"],
                int(labels["kiops.release-number"]),
                int(labels["kiops.fence"]),
                labels["kiops.job"],
                int(labels["kiops.token"]),
            )
        except (KeyError, ValueError):
            return None
