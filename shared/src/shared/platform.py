"""The platform's own short name, so that what it makes outside (containers, networks) can be told from others'."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def platform_id(root: Path) -> str:
    """8 hexadecimal digits, made once and kept in `<root>/platform.id`."""
    path = root / "platform.id"
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(secrets.token_hex(4))
    except FileExistsError:
        pass
    return path.read_text().strip()
