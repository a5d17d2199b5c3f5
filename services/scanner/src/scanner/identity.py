"""The platform's key by which secrets are recognised without being kept."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from shared.errors import Broken


def load_key(path: Path) -> bytes:
    """32 bytes from a file of mode 0600, made once. With another key known secrets would look like new ones: keep it in backups.

    Raises Broken `key.readable` when others can read it, `key.damaged` when it is not 32 bytes.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(secrets.token_hex(32))
    except FileExistsError:
        pass
    if path.stat().st_mode & 0o077:
        raise Broken("key.readable", f"the key file {path.name} can be read by others", f"chmod 600 {path}")
    try:
        key = bytes.fromhex(path.read_text().strip())
    except ValueError:
        key = b""
    if len(key) != 32:
        raise Broken("key.damaged", f"the key file {path} does not hold 64 hexadecimal digits", "Take it from a backup.")
    return key
