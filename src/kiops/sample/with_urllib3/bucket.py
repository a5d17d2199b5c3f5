"""Texts that the shop keeps in an object store; BUCKET_URL says where."""

from __future__ import annotations

import os

import urllib3

ADDRESS = os.environ.get("BUCKET_URL", "")
POOL = urllib3.PoolManager(timeout=2, retries=False)


def read(name: str, access_key: str = "") -> str | None:
    """An object's text, None while there is no bucket or it has none."""
    if not ADDRESS:
        return None
    headers = {"X-Access-Key": access_key} if access_key else {}
    answer = POOL.request("GET", f"{ADDRESS}/{name}", headers=headers)
    return answer.data.decode() if answer.status == 200 else None
