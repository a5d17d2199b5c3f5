"""What a customer reads first."""

from __future__ import annotations

import bucket
import prices

TEXT = "Hello, dear customer."


def page() -> str:
    """The greeting and the price list."""
    lines = [bucket.read("greeting.txt") or TEXT, "", *prices.lines()]
    return "\n".join(lines) + "\n"
