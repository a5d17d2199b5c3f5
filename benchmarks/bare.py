"""The floor of a durable accept: a bare uvicorn that checks the HMAC, appends the body and waits for the disk. No framework.

python -m benchmarks.bare PORT FILE        (the secret in BENCH_SECRET)
"""

from __future__ import annotations

import hashlib
import hmac
import os
import sys
from typing import Any

HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"2")]


def application(secret: bytes, file: int) -> Any:
    """The ASGI application: 202 once the body is on disk, 401 when the signature is another."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        given = dict(scope["headers"]).get(b"x-kiops-signature", b"")
        expected = b"sha256=" + hmac.new(secret, body, hashlib.sha256).hexdigest().encode()
        status = 401
        if hmac.compare_digest(given, expected):
            os.write(file, body + b"\n")
            os.fdatasync(file)
            status = 202
        await send({"type": "http.response.start", "status": status, "headers": HEADERS})
        await send({"type": "http.response.body", "body": b"{}"})

    return app


def main(port: int, path: str) -> None:
    import uvicorn

    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    app = application(os.environ["BENCH_SECRET"].encode(), file)
    quiet = {"access_log": False, "log_level": "error", "lifespan": "off"}
    uvicorn.run(app, host="127.0.0.1", port=port, loop="uvloop", http="httptools", **quiet)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
