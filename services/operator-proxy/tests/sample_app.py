"""What the test images run: an HTTP server that says its version, and misbehaves in the way MODE tells it to."""

import asyncio
import os
import signal
import sys

VERSION, MODE, PORT = os.environ.get("VERSION", "?"), os.environ.get("MODE", ""), int(os.environ.get("PORT", "8080"))
STATE = {"well": MODE != "unhealthy"}


async def serve(reader, writer):
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            path = head.split(" ")[1]
            if path.startswith("/slow"):
                await asyncio.sleep(3)
            if path.startswith("/headers"):
                body = head.encode("latin-1")
            else:
                body = (VERSION + "\n").encode()
            status = "200 OK" if STATE["well"] else "503 Service Unavailable"
            end = "connection: close" in head
            answer = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: {'close' if end else 'keep-alive'}\r\n\r\n"
            writer.write(answer.encode() + body)
            await writer.drain()
            if end:
                break
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def main():
    # Ends at once, whatever it is answering: a switch that does not drain is seen.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    print("listening", VERSION, MODE, flush=True)
    if MODE == "exit":
        print("cannot find my configuration", os.environ.get("API_TOKEN", ""), flush=True)
        sys.exit(7)
    if MODE == "deaf":
        await asyncio.sleep(3600)
    if MODE == "eat":
        held = []
        while True:
            held.append(b"x" * 1_000_000)
    server = await asyncio.start_server(serve, "0.0.0.0", PORT)
    if MODE == "sick-later":
        await asyncio.sleep(3)
        STATE["well"] = False
    if MODE == "exit-later":
        await asyncio.sleep(3)
        os._exit(9)
    async with server:
        await server.serve_forever()


asyncio.run(main())
