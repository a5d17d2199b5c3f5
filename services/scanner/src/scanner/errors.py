"""The scanner's own errors, each with a stable code.

Rejected
├── SourceRefused    source.*   the repository, the credential, the commit (shared.git)
├── ImageGone        image.gone
├── DataInvalid      data.invalid
├── EngineMissing    engine.missing
└── EngineRefused    engine.refused
Unavailable
├── SourceAway       source.unreachable (shared.git)
└── EngineAway       engine.away (shared.engine)
"""

from __future__ import annotations

from pathlib import Path

from shared.errors import Rejected


class ImageGone(Rejected):
    """The engine's store no longer has the image."""

    def __init__(self, image: str) -> None:
        super().__init__("image.gone", f"the image {image} is no longer in the engine's store", "Build it again.")


class EngineMissing(Rejected):
    """A scan engine's program is not there. Nothing is known of the areas it looks at."""

    def __init__(self, name: str, path: Path) -> None:
        super().__init__(
            "engine.missing",
            f"the scan engine {name} is not at {path}",
            f"Install it with `kiops up` or `kiops doctor`, or set SCANNER_{name.upper()} to its path.",
        )


class EngineRefused(Rejected):
    """The program at the engine's path is not one that may be trusted."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(
            "engine.refused", f"the scan engine {name} is not used: {why}", f"Set SCANNER_{name.upper()} to a trusted program."
        )


class DataInvalid(Rejected):
    """A file is no vulnerability data that Trivy can use."""

    def __init__(self, why: str) -> None:
        super().__init__(
            "data.invalid",
            f"this is no vulnerability data: {why}",
            "Give a tar.gz with trivy.db and metadata.json, as Trivy's own database is distributed.",
        )
