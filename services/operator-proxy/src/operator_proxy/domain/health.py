"""When a release counts as healthy, and when one that is watched no longer does."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Probe:
    """What one probe saw: the status, 0 when there was no answer; who answered; or what went wrong, in words. `edge_away`
    says that it was not the container's fault."""

    status: int = 0
    answered_by: str = ""
    trouble: str = ""
    edge_away: bool = False

    def good(self, expected: str) -> bool:
        """Answered by the expected release, with a status from 200 to 399."""
        return self.answered_by == expected and 200 <= self.status < 400

    @property
    def not_routed(self) -> bool:
        """The edge knows no such route (or does not answer at all)."""
        return self.edge_away or (self.status == 404 and not self.answered_by)

    def words(self, port: int, path: str) -> str:
        """What was seen, for people."""
        if self.trouble:
            return self.trouble
        if self.status in (502, 504):
            return f"nothing answers on port {port} of the container"
        if self.status == 404 and not self.answered_by:
            return "the edge has not taken up the route"
        return f"GET {path} was answered with status {self.status}"


@dataclass(frozen=True)
class Look:
    """What one look at a watched release saw."""

    exists: bool
    running: bool
    restarts: int
    probe: Probe


@dataclass
class Watch:
    """Judges the looks at a release after its switch. A restart or an end counts at once, a failed probe only in a row."""

    expected: str
    port: int
    path: str
    failures_allowed: int
    restarts_before: int = 0
    failures: int = 0

    def judge(self, look: Look) -> tuple[str, str]:
        """("", "") while all is well; else a code and what was seen."""
        if not look.exists:
            return "container.gone", "its container was removed"
        if not look.running:
            return "container.exited", "its container ended"
        if look.restarts > self.restarts_before:
            times = look.restarts - self.restarts_before
            return "container.restarted", f"its container restarted {times} time{'s' if times > 1 else ''}"
        if look.probe.good(self.expected):
            self.failures = 0
            return "", ""
        self.failures += 1
        if self.failures < self.failures_allowed:
            return "", ""
        return "container.unhealthy", look.probe.words(self.port, self.path)
