"""Pieces of pages that stand in every row of a table: written by Python, and kept where the same ones come again and again.

A macro costs some 20 µs a call, and a list of 40 rows has a thousand of them. Everything that comes from outside is escaped here.
"""

from __future__ import annotations

from functools import lru_cache

from markupsafe import Markup, escape

from gateway import text
from gateway.contexts.frame import Counts, Version
from gateway.labels import State
from gateway.pages.addresses import asset


@lru_cache(500)
def icon(name: str, cls: str = "") -> Markup:
    """A drawing of the sprite."""
    more = f" {escape(cls)}" if cls else ""
    return Markup(f'<svg class="i{more}" data-i aria-hidden="true"><use href="{asset("sprite.svg")}#i-{escape(name)}"/></svg>')


@lru_cache(500)
def shape(kind: str, cls: str = "") -> Markup:
    """The shape of a state."""
    more = f" {escape(cls)}" if cls else ""
    kind = escape(kind)
    return Markup(f'<svg class="i sh-{kind}{more}" aria-hidden="true"><use href="{asset("sprite.svg")}#s-{kind}"/></svg>')


@lru_cache(500)
def state(shown: State) -> Markup:
    """A state: its shape and its word."""
    return Markup(f'<span class="st st-{escape(shown.shape)}">{shape(shown.shape)}{escape(shown.word)}</span>')


@lru_cache(500)
def pips(drawn: tuple[tuple[str, str], ...], words: str) -> Markup:
    """The steps of a run, a mark each."""
    marks = "".join(f'<i class="{escape(tone)}"></i>' for tone, _ in drawn)
    words = escape(words)
    return Markup(f'<span class="pips" role="img" aria-label="{words}" title="{words}">{marks}</span>')


@lru_cache(500)
def risk(counts: Counts) -> Markup:
    """How many findings of each severity."""
    shown = (("C", counts.critical, "crit"), ("H", counts.high, "high"), ("M", counts.medium, ""), ("L", counts.low, ""))
    parts = "".join(f'<span class="{tone if number else "zero"}"><i>{letter}</i>{number}</span>' for letter, number, tone in shown)
    said = f"{counts.critical} critical, {counts.high} high, {counts.medium} medium, {counts.low} low"
    return Markup(f'<span class="vul" role="img" aria-label="{said}">{parts}</span>')


def moment(at_ms: int | None, now_ms: int, plain: bool = False) -> Markup:
    """A time as people say it, with the time itself; the page's script goes on telling it."""
    if not at_ms:
        return Markup()
    if plain:
        distance = abs(now_ms - at_ms)
        words = "now" if distance < 5000 else text.about(distance)
    else:
        words = text.relative(at_ms, now_ms)
    kind = " data-plain" if plain else ""
    return Markup(f'<time datetime="{text.iso(at_ms)}" title="{text.absolute(at_ms)}"{kind}>{words}</time>')


def copied(full: str, what: str) -> Markup:
    """The button that copies a value."""
    return Markup(
        f'<button class="copy" type="button" data-copy="{escape(full)}" aria-label="Copy {escape(what)}">'
        f"{icon('copy')}{icon('check')}</button>"
    )


def identifier(short: str, full: str, what: str = "commit", always: bool = False) -> Markup:
    """A short identifier that stands for a long one, which it copies."""
    kind = " always" if always else ""
    code = f'<code title="{escape(full)}">{escape(short)}</code>'
    return Markup(f'<span class="id{kind}">{code}{copied(full, f"{what} {short}")}</span>')


def commit(full: str, always: bool = False) -> Markup:
    return identifier(text.short(full), full, "commit", always)


def version(shown: Version | None) -> Markup:
    if not shown:
        return Markup('<span class="meta">none</span>')
    words = escape(shown.shown)
    if shown.by_hand:
        return Markup(f'<span class="by-hand" title="{words}, entered by a person">{words}</span>')
    return Markup(f'<span title="{words}">{words}</span>')


PIECES = {
    "icon": icon,
    "shape_of": shape,
    "state_of": state,
    "pips_of": pips,
    "risk_of": risk,
    "moment": moment,
    "copied": copied,
    "identifier": identifier,
    "commit_of": commit,
    "version_of": version,
}
"""By the names that templates know them under."""
