"""What it costs to look for secrets in a log: lines masked by a masker that knows 50 secrets, against copying them.

The floor writes each line into a buffer, as a log does anyway. Beside it a masker with one secret, and lines of which every
twentieth has a secret in one of its dresses.
"""

from __future__ import annotations

import base64
import io
import random
import time
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import quote

from shared.masking import Masker

from benchmarks.common import Figure, Series, others_busy, report, rounds

SECRETS = 50
WORDS = "fetching layer sha256: installing package version resolved compiling module warning in src/app/views.py line done".split()


def run(quick: bool) -> dict[str, Any]:
    """Megabytes per second of each, by the processor time of this process."""
    chance = random.Random(7)
    secrets = ["".join(chance.choices("abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789+/&", k=32)) for _ in range(SECRETS)]
    lines = _lines(chance, 20_000 if quick else 60_000)
    leaking = [_with_secret(line, chance.choice(secrets), at) if at % 20 == 0 else line for at, line in enumerate(lines)]
    many, one = Masker(), Masker()
    for secret in secrets:
        many.add(secret)
    one.add(secrets[0])
    assert not any(secret in many.mask(line) for line in leaking[:2_000] for secret in secrets)
    parts: dict[str, tuple[Callable[[str], str], Sequence[str]]] = {
        "floor": (lambda line: line, lines),
        "one": (one.mask, lines),
        "many": (many.mask, lines),
        "leaking": (many.mask, leaking),
    }
    series = {name: Series() for name in parts}
    for turn in rounds(quick):
        for name in turn.order(*parts):
            with others_busy() as busy:
                speed = _speed(*parts[name])
            series[name].add(speed, n=len(lines), others=busy.cores)
    floor = series.pop("floor")
    names = {
        "one": "lines masked, 1 secret",
        "many": f"lines masked, {SECRETS} secrets",
        "leaking": f"lines masked, {SECRETS} secrets, one in every 20th line",
    }
    figures = [Figure(names[name], "MB/s", each, floor, better="more") for name, each in series.items()]
    return report(*figures, letters=sum(map(len, lines)), forms=len(many._forms))


def _lines(chance: random.Random, count: int) -> list[str]:
    """As a build prints them: 20 to 160 letters."""
    return [
        f"#{chance.randrange(40)} {chance.random() * 100:.3f} " + " ".join(chance.choices(WORDS, k=chance.randrange(2, 18)))
        for _ in range(count)
    ]


def _with_secret(line: str, secret: str, at: int) -> str:
    dressed = (secret, quote(secret, safe=""), base64.b64encode(f"user:{secret}".encode()).decode())[at // 20 % 3]
    return f"{line} {dressed}"


def _speed(change: Callable[[str], str], lines: Sequence[str]) -> float:
    out = io.StringIO()
    began = time.process_time()
    for line in lines:
        out.write(change(line))
    seconds = time.process_time() - began
    return sum(map(len, lines)) / 1e6 / seconds
