"""What the rebuilding process is told first."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Task:
    """Everything the process needs to know."""

    bus_url: str
    seed: str
    api: str
    stream_created: str
    file: str = ""
    url: str = ""
    schema: str = ""

    def line(self) -> str:
        return json.dumps(asdict(self))
