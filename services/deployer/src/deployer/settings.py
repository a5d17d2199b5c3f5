"""Every knob of the deployer."""

from __future__ import annotations

from pydantic import Field
from shared.settings import ServiceSettings


class DeployerSettings(ServiceSettings, env_prefix="DEPLOYER_"):
    """How long the gate and the runtimes are waited for, and what they are told."""

    no_answer_seconds: int = Field(600, ge=1, description="A release of which the runtime says nothing for this long has failed.")
    no_decision_seconds: int = Field(1800, ge=1, description="A request that the gate does not decide for this long has failed.")
    healthy_seconds: int = Field(120, ge=1, description="How long a new release may take until it answers well.")
    drain_seconds: int = Field(10, ge=0, description="How long answers under way may take after a switch before the old one stops.")
    query_seconds: float = Field(3.0, gt=0, description="How long builder and operator-proxy may take to answer a question.")
    reaper_seconds: float = Field(10.0, gt=0, description="How often open requests and releases are looked through for silence.")
