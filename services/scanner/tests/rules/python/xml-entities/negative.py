"""Reads orders that partners send as XML."""

from dataclasses import dataclass

from lxml import etree


@dataclass
class Line:
    article: str
    pieces: int


def read_order(document: bytes) -> list[Line]:
    parser = etree.XMLParser(resolve_entities=False, no_network=True)
    root = etree.fromstring(document, parser)
    lines = []
    for element in root.iterfind("line"):
        lines.append(Line(element.get("article", ""), int(element.get("pieces", "0"))))
    return lines


def pieces(lines: list[Line]) -> int:
    return sum(line.pieces for line in lines)
