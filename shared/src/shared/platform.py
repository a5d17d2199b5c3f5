"""The platform's own short name, so that what it makes outside (containers, networks) can be told from others'."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path


def platform_id(root: Path) -> str:
    """8 hexadecimal digits, made once and kept in `<root>/platform.id`."""
    path = root / "platform.id"
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not path.exists():
        # Put in whole: of two processes that start together, either reads what the quicker one made.
        draft = root / f"platform.id.{secrets.token_hex(4)}"
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_hex(4))
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
        draft.unlink()
    return path.read_text().strip()
