"""Large things: kept as files named by their content's hash; a message carries the reference.

A reference is `<owner>/<sha256>.<suffix>`. The embedded form keeps them below the data folder; the same interface stands before
an object store of the bus or S3 in production.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import os
import re
from pathlib import Path

from shared import ids
from shared.errors import Broken, Rejected, Unavailable
from shared.faults import point

REFERENCE = re.compile(r"^[a-z-]+/[0-9a-f]{64}\.[a-z0-9]{1,8}$")


class ObjectStore:
    """One service's writer and everybody's reader. Contents are compressed; the hash is of what was put."""

    def __init__(self, root: Path, owner: str) -> None:
        self.root, self.owner = root, owner

    def _path(self, reference: str) -> Path:
        owner, name = reference.split("/")
        return self.root / owner / name[:2] / (name + ".gz")

    async def put(self, data: bytes, suffix: str = "bin") -> str:
        """Keep the bytes and return their reference. Raises Unavailable `object.not_stored` when the disk refuses."""
        reference = f"{self.owner}/{hashlib.sha256(data).hexdigest()}.{suffix}"
        path = self._path(reference)

        def write() -> None:
            if path.exists():
                return
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)  # containers share a group; above it is 0700
            temporary = path.with_name(f".{ids.uuid7()}")
            try:
                with open(temporary, "wb") as file:
                    file.write(gzip.compress(data, 6, mtime=0))
                    file.flush()
                    os.fsync(file.fileno())
            except OSError:  # what there was room for would only take the room
                temporary.unlink(missing_ok=True)
                raise
            point("object.writing")
            os.replace(temporary, path)
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

        try:
            await asyncio.to_thread(write)
        except OSError as error:
            raise Unavailable("object.not_stored", f"an object cannot be kept: {error.strerror}", "Is the disk full?") from error
        point("object.kept")
        return reference

    async def get(self, reference: str) -> bytes:
        """The bytes. Raises Rejected `object.gone` (expired or never there), Broken `object.damaged`."""
        if not REFERENCE.match(reference):
            raise Rejected("object.gone", f"{reference!r} is no object", status=404)
        path = self._path(reference)
        try:
            data = await asyncio.to_thread(lambda: gzip.decompress(path.read_bytes()))
        except FileNotFoundError:
            raise Rejected("object.gone", "what was kept here has expired or was removed", status=404) from None
        except (OSError, EOFError) as error:
            raise Broken("object.damaged", f"{reference} cannot be read: {error}") from error
        if hashlib.sha256(data).hexdigest() != reference.split("/")[1].split(".")[0]:
            raise Broken("object.damaged", f"{reference} is not what was kept")
        return data
