"""Templates. They are compiled once, when first used, and see nothing but their page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jinja2

from gateway import text
from gateway.pages.addresses import asset
from gateway.pages.pieces import PIECES

TEMPLATES = Path(__file__).parent.parent / "templates"


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
    env.globals |= PIECES | {"asset": asset}
    env.filters |= {
        "took": text.took,
        "relative": text.relative,
        "absolute": text.absolute,
        "iso": text.iso,
        "short": text.short,
        "thousands": lambda number: f"{number:,}",
    }
    return env


def renderer() -> Callable[[str, Any], str]:
    """A function of a template's name and a page (a frozen dataclass with a `frame`) that returns HTML."""
    env = environment()

    def render(template: str, page: Any) -> str:
        return env.get_template(template).render(page=page)

    return render
