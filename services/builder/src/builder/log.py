"""A build's log as people read it: its cause first, then stages, steps and their lines."""

from __future__ import annotations

from shared.errors import KiopsError
from shared.git import Credential
from shared.logs import JobLog

from builder.domain.build import Stage
from builder.domain.steps import Event, Line, Note, Progress, Step, StepState, Warned

ERRORS = 2


class BuildLog:
    """Writes to a job's log. Whatever it writes is masked by it first."""

    def __init__(self, log: JobLog) -> None:
        self._log = log
        self.stage = Stage.CLONE
        self._names: dict[int, str] = {}
        self._speaking = 0
        self._closed: tuple[str | None, int] | None = None

    def mask(self, credential: Credential | None) -> None:
        """From now on nothing of this credential is ever shown."""
        for secret in (credential.password, credential.private_key) if credential else ():
            if secret:
                self._log.mask(secret)

    def masked(self, text: str) -> str:
        """A text as it may leave this process."""
        return self._log.masked(text)

    def say(self, text: str, stage: Stage | None = None, stream: int = 1) -> None:
        """A line of our own."""
        self._log.line(text, stage or self.stage, stream)

    def progress(self, percent: int, stage: Stage, text: str) -> None:
        """What a watching page shows."""
        self._log.progress(percent, stage, text)

    def failed(self, error: KiopsError) -> None:
        """Why it ended badly, and what to do."""
        self._log.line(f"{error.message} [{error.code}]", self.stage, ERRORS)
        if error.advice:
            self._log.line(error.advice, self.stage, ERRORS)

    @staticmethod
    def begins(event: Event) -> bool:
        """Whether the engine is at work from here on."""
        return isinstance(event, Step) and event.state is not StepState.PENDING

    def show(self, event: Event) -> None:
        """Write down what happened in the build."""
        match event:
            case Step():
                self._step(event)
            case Line():
                self._header(event.step)
                self._log.line(event.text, self.stage, event.stream)
            case Note():
                self.say(event.text)
            case Warned():
                self.say(f"Warning: {event.text}{f' ({event.url})' if event.url else ''}", stream=ERRORS)
            case Progress():
                steps = f"step {event.done} of {event.total}" if event.total else ""
                self._log.progress(event.percent, self.stage, ": ".join(part for part in (steps, event.text) if part))

    def _step(self, step: Step) -> None:
        self._names[step.number] = step.name
        took = f" in {step.duration_ms / 1000:.1f} s" if step.duration_ms is not None else ""
        match step.state:
            case StepState.RUNNING:
                self._header(step.number)
            case StepState.CACHED:
                self._header(step.number)
                self.say(f"#{step.number} from the cache")
            case StepState.DONE:
                self.say(f"#{step.number} done{took}")
            case StepState.FAILED:
                self.say(f"#{step.number} failed{took}", stream=ERRORS)

    def _header(self, number: int) -> None:
        """The step's name, again whenever another step has spoken in between."""
        if number != self._speaking and number in self._names:
            self._speaking = number
            self.say(f"#{number} {self._names[number]}")

    async def close(self) -> tuple[str | None, int]:
        """Keep the whole log. Returns (object reference, lines); closing twice is closing once."""
        if self._closed is None:
            self._closed = await self._log.close()
        return self._closed

    async def abandon(self) -> None:
        """Another attempt writes its own."""
        if self._closed is None:
            await self._log.abandon()
            self._closed = None, 0
