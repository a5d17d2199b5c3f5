"""How numbers, times and names are written for people: units with a blank, relative times, short identifiers."""

from __future__ import annotations

from datetime import UTC, datetime


def took(milliseconds: float | None) -> str:
    """A duration: "0.4 s", "38.2 s", "1 min 52 s", "2 h 05 min", "3 d 4 h". Empty when it is not known."""
    if milliseconds is None:
        return ""
    seconds = max(0, milliseconds) / 1000
    if seconds < 0.1:
        return f"{max(0, round(milliseconds))} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    seconds = round(seconds)
    minutes, rest = divmod(seconds, 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes:02d} min"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h"


def about(milliseconds: float | None) -> str:
    """A duration with one unit, for sentences: "24 s", "16 min", "3 h", "11 d"."""
    if milliseconds is None:
        return ""
    seconds = max(0, milliseconds) / 1000
    if seconds < 60:
        return f"{max(1, round(seconds))} s"
    if seconds < 3600:
        return f"{round(seconds / 60)} min"
    if seconds < 48 * 3600:
        return f"{round(seconds / 3600)} h"
    return f"{round(seconds / 86400)} d"


def relative(at_ms: int, now_ms: int) -> str:
    """ "just now", "40 s ago", "16 min ago", "in 3 h". The same rule stands in static/times.js."""
    distance = now_ms - at_ms
    if abs(distance) < 5000:
        return "just now"
    return f"{about(distance)} ago" if distance > 0 else f"in {about(-distance)}"


def absolute(at_ms: int) -> str:
    """Date and time to the second, in UTC; the page's script writes it in the reader's own zone."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def iso(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def more(delta_ms: float) -> str:
    """A difference in words: "8.3 s more", "1.2 s less"; empty under a tenth of a second."""
    if abs(delta_ms) < 100:
        return ""
    return f"{took(abs(delta_ms))} {'more' if delta_ms > 0 else 'less'}"


def size(number: int | None) -> str:
    """Bytes as people read them: "58 MB"."""
    if not number:
        return ""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= factor:
            value = number / factor
            return f"{value:.1f} {unit}" if value < 10 and unit != "kB" else f"{value:.0f} {unit}"
    return f"{number} B"


def count(number: int, one: str, many: str = "") -> str:
    """ "1 run", "1,204 runs"."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def short(commit: str) -> str:
    return commit[:7]


def short_digest(digest: str) -> str:
    """ "sha256:7d41c2e8" of a digest or image id."""
    algorithm, _, value = digest.rpartition(":")
    return f"{algorithm or 'sha256'}:{value[:8]}" if value else ""


def listed(words: list[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else ""


def initials(name: str) -> str:
    parts = [p for p in name.replace("@", " ").replace(".", " ").split() if p[:1].isalnum()]
    return ("".join(p[0] for p in parts[:2]) or "?").upper()


def stopped(words: str) -> str:
    """With a full stop; its first word stays as it is (it may be a service's name)."""
    words = words.strip()
    return words if not words or words[-1] in ".!?" else words + "."


def sentence(words: str) -> str:
    """With a capital and a full stop."""
    words = words.strip()
    return "" if not words else words[0].upper() + words[1:] + ("" if words[-1] in ".!?" else ".")
