"""Facts of whole runs, as the services tell them, with the times at which the stream stored them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

from shared.facts import builder, deployer, gate, gateway, operator_proxy, scanner, webhook
from shared.facts._base import Message
from shared.subscribers import Envelope
from shared.words import Area, EndpointState, Evidence, RunState, ScanState, Severity, Trigger, Verdict

ORGANISATION, SERVICE = "main", "svc_shop"
START = 1_795_250_000_000
PLAN = ["source", "sast", "build", "sca", "gate", "deploy", "operate"]
COMMIT = "9f3c1ab7d1e84b3f7c0a54f2b6f0c3d2a1e4b5c6"


@dataclass
class Story:
    """Facts in stream order. `at` moves the clock of the stream (seconds since the start)."""

    now_ms: int = START
    told: list[tuple[Message, Envelope]] = field(default_factory=list)

    def at(self, seconds: float) -> Story:
        self.now_ms = START + int(seconds * 1000)
        return self

    def tell(self, *messages: Message) -> Story:
        for message in messages:
            sequence = len(self.told) + 1
            envelope = Envelope(
                id=f"message-{sequence}",
                type=message.type(),
                source="/test",
                subject=message.subject,
                time=datetime.fromtimestamp(self.now_ms / 1000, UTC),
                correlation=getattr(message, "run", ""),
                causation="",
                traceparent="",
                sequence=sequence,
                stored_at_ms=self.now_ms,
            )
            self.told.append((message, envelope))
        return self


def registered() -> Story:
    """A service with an environment and a rule."""
    of = {"organisation": ORGANISATION, "service": SERVICE}
    return Story().tell(
        gateway.ServiceRegistered(**of, name_="shop", repository_url="https://git.example.org/shop.git"),
        operator_proxy.RuntimeChanged(
            organisation=ORGANISATION, runtime="local", label="This machine", runtime_kind="docker", reachable=True
        ),
        deployer.EnvironmentChanged(
            **of,
            environment="development",
            environment_kind="not_production",
            runtime="local",
            container_port=8080,
            entry_port=8641,
            url="http://127.0.0.1:8641/",
        ),
        webhook.RuleChanged(**of, branches=["main"], environments=["development"]),
        webhook.EndpointChanged(
            **of, endpoint="ep_1", label="Local", provider="generic", path="/api/v1/webhook/generic/ep_1", state=EndpointState.READY
        ),
    )


def _of(number: int) -> dict[str, object]:
    return {"organisation": ORGANISATION, "service": SERVICE, "run": f"run_{number}", "number": number}


def push(story: Story, number: int, *, message: str = "Greet the customer") -> None:
    story.tell(
        webhook.PushReceived(
            **_of(number),
            service_name="shop",
            trigger=Trigger.WEBHOOK,
            executor="Ada",
            branch="main",
            ref="refs/heads/main",
            commit=COMMIT,
            author="Ada",
            message=message,
            plan=PLAN,
            environments=["development"],
            delivery=f"dlv_{number}",
            repository_url="https://git.example.org/shop.git",
        )
    )


def built(story: Story, number: int, begin: float) -> None:
    """Queued for 2 s, cloned in 1 s, built in 4 s."""
    of = _of(number) | {"build": f"bld_{number}", "commit": COMMIT}
    story.at(begin).tell(builder.BuildQueued(**of, waits_for="build #11 of this service"))
    story.at(begin + 2).tell(builder.BuildStarted(**of))
    story.at(begin + 3).tell(builder.SourceFetched(**of, files=6, duration_ms=1000))
    story.at(begin + 7).tell(
        builder.BuildSucceeded(
            **of,
            image=f"shop:{number}",
            image_id=f"sha256:{number:064x}",
            version=f"2026-{number}",
            size_bytes=58_000_000,
            steps=7,
            steps_cached=2,
            stages_ms={"clone": 1000, "analyse": 500, "build": 3000, "push": 500},
            duration_ms=5000,
            log=f"builder/{number:064x}.ndjson",
            log_lines=40,
        )
    )


SECRET = scanner.FindingLine(
    id="f-secret",
    rule="secrets.object-store-key",
    severity=Severity.CRITICAL,
    title="An object store key",
    path="prices.py",
    line=4,
)
OLD = scanner.FindingLine(id="f-old", rule="py.eval", severity=Severity.MEDIUM, title="eval of input", path="app.py", line=9)


def scanned(story: Story, number: int, begin: float, areas: list[str], end: float, **found: list[scanner.FindingLine]) -> None:
    of = _of(number) | {"scan": f"scn_{number}_{areas[0]}", "commit": COMMIT}
    story.at(begin).tell(scanner.ScanQueued(**of, areas=areas))
    story.at(begin + 0.5).tell(scanner.ScanStarted(**of, areas=areas))
    story.at(end)
    for area in areas:
        lines = found.get(area, [])
        counts: dict[str, int] = {}
        for line in lines:
            counts[str(line.severity)] = counts.get(str(line.severity), 0) + 1
        story.tell(
            scanner.ScanFinished(
                **of,
                area=Area(area),
                state=ScanState.COMPLETED,
                engines=[scanner.Engine(name="semgrep", version="1.182.0", exit_code=0, rules=41)],
                coverage={"files": 6},
                counts=counts,
                findings=lines,
                findings_total=len(lines),
                duration_ms=int((end - begin - 0.5) * 1000),
            )
        )


def _deploy(number: int) -> dict[str, object]:
    return _of(number) | {
        "environment": "development",
        "request": f"req_{number}",
        "image": f"shop:{number}",
        "image_id": f"sha256:{number:064x}",
        "commit": COMMIT,
        "version": f"2026-{number}",
    }


def decided(story: Story, number: int, at: float, verdict: Verdict, sentence: str = "shop may go to development") -> None:
    reasons = (
        [gate.Reason(area=Area.SECRETS, rule="secrets.none", effect=Verdict.BLOCK, text="an object store key in prices.py:4")]
        if verdict == Verdict.BLOCK
        else []
    )
    story.at(at).tell(
        gate.GateDecided(
            **_of(number),
            decision=f"dec_{number}",
            request=f"req_{number}",
            environment="development",
            verdict=verdict,
            sentence=sentence,
            areas=[gate.AreaVerdict(area=Area.SECRETS, evidence=Evidence.FRESH, verdict=verdict)],
            reasons=reasons,
            duration_ms=40,
        )
    )


def deployed(story: Story, number: int, begin: float, release: int, *, back_to: str | None = None) -> None:
    """Planned, started 0.5 s later, ready after 2 s more, settled after 10 s of watching."""
    of = _deploy(number) | {"release": f"rel_{release}", "release_number": release, "runtime": "local"}
    before = f"rel_{release - 1}" if release > 1 else None
    story.at(begin).tell(deployer.DeployPlanned(**of, before=before, back_to=back_to, changes=["+ image shop"]))
    story.at(begin + 0.5).tell(deployer.DeployStarted(**of))
    story.at(begin + 1).tell(deployer.DeployProgressed(**of, step=2, steps=4, text="Waiting for the container"))
    story.at(begin + 2.5).tell(
        deployer.DeployReady(
            **of,
            back_to=back_to,
            url="http://127.0.0.1:8641/",
            container=f"shop-{release}",
            stages_ms={"start": 800, "probe": 700, "switch": 100, "drain": 400},
            text="healthy, switched, nothing to drain",
        )
    )
    if back_to:
        story.tell(
            deployer.DeployRolledBack(
                **of, from_release=before, from_number=release - 1, to_number=int(back_to.removeprefix("rel_")), came_back=["image"]
            )
        )
    story.at(begin + 12.5).tell(deployer.DeploySettled(**of, healthy=True, seconds=10))


def finished(story: Story, number: int, outcome: RunState, step: str | None = None, reason: str = "") -> None:
    story.tell(webhook.RunFinished(**_of(number), outcome=outcome, step=step, reason=reason))


def requested(story: Story, number: int, *, back_to: str | None = None) -> None:
    story.tell(deployer.DeployRequested(**_deploy(number), cause="rollback" if back_to else "build", back_to=back_to))


def good_push(story: Story, number: int, release: int, begin: float = 0.0) -> None:
    """From the push to a release that has been watched: 24 s in all."""
    story.at(begin)
    push(story, number)
    scanned(story, number, begin + 0.1, ["sast", "secrets", "iac"], begin + 4, sast=[OLD])
    built(story, number, begin)
    requested(story, number)
    scanned(story, number, begin + 7, ["sca", "sbom", "license", "image"], begin + 10)
    decided(story, number, begin + 10.5, Verdict.PASS)
    deployed(story, number, begin + 11, release)
    finished(story, number, RunState.SUCCESS)


def blocked_push(story: Story, number: int, begin: float) -> None:
    """A secret is in it: the gate blocks, the old release keeps serving."""
    story.at(begin)
    push(story, number, message="Read the price list from the bucket")
    built(story, number, begin)
    requested(story, number)
    scanned(story, number, begin + 7, ["sast", "secrets", "iac"], begin + 9, secrets=[SECRET])
    scanned(story, number, begin + 9, ["sca", "sbom", "license", "image"], begin + 10)
    decided(story, number, begin + 10.5, Verdict.BLOCK, "shop may not go to development: a secret is in the history")
    story.tell(
        deployer.DeployCancelled(
            **{key: value for key, value in _deploy(number).items() if key != "version"}, reason="The gate blocked it."
        )
    )
    finished(story, number, RunState.BLOCKED, "gate", "a secret is in the history")


def rolled_back(story: Story, number: int, release: int, back_to: str, begin: float) -> None:
    """A run without source that brings an earlier release back."""
    story.at(begin).tell(
        webhook.RunStarted(
            **_of(number),
            service_name="shop",
            trigger=Trigger.ROLLBACK,
            executor="admin",
            plan=["gate", "deploy", "operate"],
            environments=["development"],
            release=back_to,
        )
    )
    requested(story, number, back_to=back_to)
    decided(story, number, begin + 0.2, Verdict.PASS)
    deployed(story, number, begin + 0.5, release, back_to=back_to)
    finished(story, number, RunState.SUCCESS)
