"""Makes the pages of the notice board."""

from dataclasses import dataclass
from pathlib import Path

import jinja2


@dataclass
class Notice:
    title: str
    text: str


class Board:
    def __init__(self, templates: Path):
        loader = jinja2.FileSystemLoader(templates)
        self.environment = jinja2.Environment(loader=loader, autoescape=True)

    def page(self, notices: list[Notice]) -> str:
        return self.environment.get_template("board.html").render(notices=notices)


def newest(notices: list[Notice], most: int = 10) -> list[Notice]:
    return notices[-most:][::-1]
