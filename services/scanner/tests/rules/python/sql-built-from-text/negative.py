"""Reads the stock of a warehouse for the nightly report."""

from dataclasses import dataclass


@dataclass
class Shelf:
    name: str
    pieces: int


class Stock:
    def __init__(self, connection):
        self.connection = connection

    def shelves(self, warehouse: str) -> list[Shelf]:
        cursor = self.connection.cursor()
        cursor.execute("select name, pieces from shelf where warehouse = %s order by name", (warehouse,))
        return [Shelf(*row) for row in cursor.fetchall()]

    def close(self) -> None:
        self.connection.close()
