"""A small shop. It greets the customer."""

from __future__ import annotations

import signal
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import greeting

PORT = 8080


class Shop(BaseHTTPRequestHandler):
    """Answers `/` with the shop's page and `/healthz` with a word. `/?wait=3` takes its time, at most 5 s."""

    protocol_version = "HTTP/1.1"
    server_version = "shop"
    sys_version = ""

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        if address.path == "/healthz":
            self.answer(200, "ok\n")
        elif address.path == "/":
            wait = parse_qs(address.query).get("wait", ["0"])[0]
            time.sleep(min(int(wait), 5) if wait.isascii() and wait.isdigit() else 0)
            self.answer(200, greeting.page())
        else:
            self.answer(404, "There is nothing here.\n")

    def answer(self, status: int, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Says nothing of answered requests: there are many."""


class Server(ThreadingHTTPServer):
    """Ends when it is asked to, after the requests under way."""

    daemon_threads = False
    block_on_close = False
    request_queue_size = 128


def main() -> None:
    server = Server(("", PORT), Shop)
    # The first process of a container ignores SIGTERM unless it says otherwise.
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    print(f"The shop is open on port {PORT}.", flush=True)
    server.serve_forever(poll_interval=0.1)
    server.server_close()


if __name__ == "__main__":
    main()
