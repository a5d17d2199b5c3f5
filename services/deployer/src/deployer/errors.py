"""What can go wrong between a decision and a release that serves.

    Rejected
    ├── deploy.service_unknown        an environment for a service that is not in the catalogue
    ├── deploy.environment_wrong      an environment that cannot be: name, port, path, variables
    ├── deploy.runtime_in_use         another runtime for an environment in which something runs
    ├── deploy.environment_unknown    a run goes to an environment that was never made, or is gone
    ├── deploy.release_unknown        a rollback to a release that is not of this service
    ├── deploy.nothing_before         instant rollback with no release before the one that runs
    ├── deploy.image_gone             the image of an older release was removed
    ├── deploy.no_decision            the gate did not answer
    └── deploy.no_answer              the runtime gave no sign

The last five are also codes of deploy.failed; other codes there come from the runtime (container.exited, port.taken ...).
"""

from __future__ import annotations

from shared.errors import Rejected


class ServiceUnknown(Rejected):
    def __init__(self, service: str) -> None:
        super().__init__("deploy.service_unknown", f"there is no service {service}", "Register the service first.", status=404)


class EnvironmentWrong(Rejected):
    def __init__(self, what: str, advice: str) -> None:
        super().__init__("deploy.environment_wrong", what, advice)


class RuntimeInUse(Rejected):
    def __init__(self, environment: str, runtime: str) -> None:
        super().__init__(
            "deploy.runtime_in_use",
            f"{environment} still runs on {runtime}",
            "Make an environment with another name on the other runtime, deploy there, then remove this one.",
            status=409,
        )


class EnvironmentUnknown(Rejected):
    def __init__(self, environment: str) -> None:
        super().__init__(
            "deploy.environment_unknown",
            f"there is no environment {environment}",
            "Make it on the service's Deploy tab, or take it out of the webhook rule.",
            status=404,
        )


class ReleaseUnknown(Rejected):
    def __init__(self, release: str) -> None:
        super().__init__(
            "deploy.release_unknown", f"there is no release {release} of this service", "Choose one of its history.", status=404
        )


class NothingBefore(Rejected):
    def __init__(self, environment: str) -> None:
        super().__init__(
            "deploy.nothing_before",
            f"no release served in {environment} before the one that runs",
            "Choose a release of the history, or deploy another build.",
            status=409,
        )


class ImageGone(Rejected):
    def __init__(self, image: str, number: int) -> None:
        super().__init__(
            "deploy.image_gone",
            f"image {image} of release {number} was removed",
            "Build its commit again, or roll back to a release whose image is still there.",
            status=409,
        )


class NoDecision(Rejected):
    def __init__(self, minutes: int) -> None:
        super().__init__(
            "deploy.no_decision",
            f"the gate did not decide within {minutes} min",
            "See `kiops doctor` whether the gate runs, then deploy again.",
        )


class NoAnswer(Rejected):
    def __init__(self, runtime: str, minutes: int, trouble: str = "") -> None:
        super().__init__(
            "deploy.no_answer",
            f"runtime {runtime} gave no sign of the release for {minutes} min" + (f" ({trouble})" if trouble else ""),
            "See `kiops doctor` whether its operator-proxy and engine run, then deploy again.",
        )
