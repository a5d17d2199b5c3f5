"""Every knob of the gate."""

from __future__ import annotations

from pydantic import Field
from shared.settings import ServiceSettings


class GateSettings(ServiceSettings, env_prefix="GATE_"):
    """How long evidence is waited for, and what the policy engine may use."""

    wait_seconds: int = Field(600, ge=0, description="How long a deploy request waits for scans; then they count as missing.")
    reaper_seconds: float = Field(5.0, gt=0, description="How often waiting requests are looked through for this deadline.")
    opa_url: str = Field("", description="Address of an OPA server; the embedded engine when not set.")
    wall_seconds: float = Field(10.0, gt=0, description="How long one evaluation may take before it is a deny.")
    cpu_seconds: int = Field(5, ge=1, description="Processor time that one evaluation may use in the embedded engine.")
    memory_mib: int = Field(512, ge=64, description="Memory that the embedded engine's process may use, in MiB.")
    idle_seconds: float = Field(30.0, gt=0, description="The embedded engine's process ends after this long without work.")
    slots: int = Field(2, ge=1, description="How many decisions are prepared at once.")
    denied_licences: list[str] = Field(
        default_factory=list, description="SPDX identifiers of licences that block, as a JSON list; none at first."
    )
    banned_components: list[str] = Field(
        default_factory=list, description="Names of components that block, as a JSON list; none at first."
    )
