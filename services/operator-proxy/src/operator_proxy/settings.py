"""Every knob of the operator-proxy. Environment variables begin with OPERATOR_PROXY_."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from shared.settings import ServiceSettings, home


class OperatorProxySettings(ServiceSettings, env_prefix="OPERATOR_PROXY_"):
    """How the local runtime is reached, where its edge listens, what a release may use, how long things may take."""

    runtime: str = Field("local", description="Identifier of the runtime that this instance serves.")
    runtime_label: str = Field("This machine", description="What pages call the runtime.")
    engine_socket: Path = Field(Path("/var/run/docker.sock"), description="Unix socket of the Docker (or Podman) engine.")

    edge_binary: Path | None = Field(
        None, description="Traefik's binary that the edge's image is made of; tools/bin/traefik below KIOPS_HOME when not set."
    )
    edge_image: str = Field("", description="A Traefik image of your own, already in the engine's store, instead of ours.")
    edge_address: str = Field("127.0.0.1", description="Address of this machine on which the edge listens.")
    edge_reach: str = Field(
        "", description="Host at which this process reaches the edge, when it is not edge_address (inside a container)."
    )
    edge_volume: str = Field(
        "",
        description="Volume of the engine with the edge's routes, when this process is a container of that engine itself.",
    )
    edge_domain: str = Field("localhost", description="Domain under which services are named <service>-<environment>.<domain>.")
    edge_port: int = Field(8630, ge=1, le=65535, description="Port of the edge on which services are told apart by host name.")
    pool_first_port: int = Field(8641, ge=1, le=65535, description="First entry port for services that want a port of their own.")
    pool_ports: int = Field(20, ge=0, le=200, description="How many entry ports for services of their own port there are.")
    edge_throttle_ms: int = Field(50, ge=1, le=100, description="Shortest time between two changes of the edge, in milliseconds.")

    memory_mb: int = Field(1024, ge=16, description="Memory that a release's container may use, in MiB.")
    cpus: float = Field(2.0, gt=0, description="Processor cores that a release's container may use.")
    processes: int = Field(1024, ge=1, description="Processes and threads that a release's container may have.")

    probe_interval_ms: int = Field(100, ge=10, description="Time between two probes of a starting release, in milliseconds.")
    probe_successes: int = Field(2, ge=1, description="How many probes in a row must be answered well before the switch.")
    probe_timeout_seconds: float = Field(5.0, gt=0, description="How long one probe may take, in seconds.")
    switch_seconds: float = Field(10.0, gt=0, description="How long the edge may take to serve a new route, in seconds.")
    stop_seconds: int = Field(10, ge=0, description="How long a container may take to stop before it is killed, in seconds.")
    observe_interval_seconds: float = Field(
        2.0, gt=0, description="Time between two looks at a release after its switch, in seconds."
    )
    observe_failures: int = Field(3, ge=1, description="How many failed probes in a row make a watched release unhealthy.")
    look_seconds: float = Field(
        20.0, gt=0, description="How often the engine and the edge are looked at while nothing happens, in seconds."
    )

    @property
    def pool(self) -> range:
        """The entry ports for services that want one of their own."""
        return range(self.pool_first_port, self.pool_first_port + self.pool_ports)

    @property
    def binary(self) -> Path:
        """Where Traefik's binary is expected."""
        return self.edge_binary or home() / "tools" / "bin" / "traefik"
