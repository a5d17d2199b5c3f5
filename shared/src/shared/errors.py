"""The three kinds of error, and how the doors act on them.

    KiopsError
    ├── Rejected      you asked wrongly: HTTP 4xx; on the bus recorded and passed over
    ├── Unavailable   not now, try again: HTTP 503; on the bus parked and retried with a growing delay
    └── Broken        we are wrong: HTTP 500; on the bus retried, then the dead-letter table
        └── LeaseLost     another worker holds the job; what we wrote was refused by its token

Each carries a stable `code` (`build.dockerfile_not_found`) that pages and clients use, a message that says what
happened, and `advice` that says what to do.
"""

from __future__ import annotations

from typing import Any

from shared.masking import known


class KiopsError(Exception):
    """The root of our errors; raise one of its three kinds."""

    status = 500
    kind = "broken"

    def __init__(self, code: str, message: str, advice: str = "", *, status: int | None = None, **detail: Any) -> None:
        # An error goes everywhere: into facts, tables, pages, answers and logs. What must not be told is taken out here.
        message = known.mask(message)
        super().__init__(message)
        self.code, self.message, self.advice, self.detail = code, message, known.mask(advice), detail
        for name, value in detail.items():
            if isinstance(value, str):
                detail[name] = known.mask(value)
            elif isinstance(value, list):
                detail[name] = [known.mask(each) if isinstance(each, str) else each for each in value]
        if status is not None:
            self.status = status

    def __str__(self) -> str:
        return f"{self.message} [{self.code}]"


class Rejected(KiopsError):
    """Asked wrongly. Trying again as it is cannot help. HTTP 422 unless `status` says otherwise."""

    status = 422
    kind = "rejected"


class Unavailable(KiopsError):
    """Not now: something we need does not answer. Trying again later may help. HTTP 503."""

    status = 503
    kind = "unavailable"


class Broken(KiopsError):
    """We are wrong: a defect, or data that contradicts itself. HTTP 500."""


class LeaseLost(Broken):
    """The job was taken over (its fencing token is newer); nothing of this attempt was written."""

    def __init__(self, job: str) -> None:
        super().__init__("job.lease_lost", f"job {job} is held by another worker", job=job)
