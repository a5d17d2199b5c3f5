"""Templates and static files. Templates are compiled once, when first used, and see nothing but their page."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import jinja2

from gateway import text

HERE = Path(__file__).parent.parent
STATIC = HERE / "static"
TEMPLATES = HERE / "templates"


@cache
def static_hash() -> str:
    """One hash over all static files: it stands in their addresses, so that browsers may keep them for ever."""
    seen = hashlib.sha256()
    for file in sorted(p for p in STATIC.rglob("*") if p.is_file()):
        seen.update(str(file.relative_to(STATIC)).encode())
        seen.update(file.read_bytes())
    return seen.hexdigest()[:16]


def asset(path: str) -> str:
    """The address of a static file."""
    return f"/static/{static_hash()}/{path}"


def environment() -> jinja2.Environment:
    """Strict: a name that a page does not have is an error, and everything is escaped."""
    env = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
        cache_size=100,
    )
    env.globals["asset"] = asset
    env.filters |= {
        "took": text.took,
        "relative": text.relative,
        "absolute": text.absolute,
        "iso": text.iso,
        "short": text.short,
        "thousands": lambda number: f"{number:,}",
        "plain": lambda at_ms, now_ms: "now" if abs(now_ms - at_ms) < 5000 else text.about(abs(now_ms - at_ms)),
    }
    return env


def renderer() -> Callable[[str, Any], str]:
    """A function of a template's name and a page (a frozen dataclass with a `frame`) that returns HTML."""
    env = environment()

    def render(template: str, page: Any) -> str:
        return env.get_template(template).render(page=page)

    return render
