"""What a customer reads first."""

from __future__ import annotations

import bucket

TEXT = "Hello, dear customer."


def page() -> str:
    """The greeting: the text in the shop's bucket, where there is one, else the one that came with the program."""
    return (bucket.read("greeting.txt") or TEXT) + "\n"
