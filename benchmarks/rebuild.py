"""The read model from the first fact: by the rebuilding process, from its start until the fresh tables are whole and on disk.

Facts of a real stream in a real nats-server, of 40 services, 32 facts a run. Microseconds a fact are seconds a million facts.
Floors in the same turn: reading the stream and decoding every body alone; and one row a fact into a bare SQLite table.
"""

from __future__ import annotations

import base64
import json
import shutil
import socket
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from gateway.projections.reading import reader
from gateway.projections.table import PROJECTIONS
from gateway.rebuilding.rebuild import Child
from gateway.rebuilding.stream import Stream
from gateway.rebuilding.task import Task
from shared.bootstrap import bootstrap
from shared.bus import EVENTS, REBUILD, Bus
from shared.permissions import make_keys, server_config
from shared.testing.nats import NatsServer, binary

from benchmarks import history
from benchmarks.common import Figure, Series, others_busy, report, rounds, run_async

FACTS, QUICK_FACTS = 1_000_000, 40_000
ATOMIC = 1000


def run(quick: bool) -> dict[str, Any]:
    return run_async(measure(QUICK_FACTS if quick else FACTS, quick))


class Filled(NatsServer):
    """A nats-server with one user more, who may say everything: it tells a history of all services in one order."""

    def start(self) -> None:
        folder = self.root / "bus"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        config = server_config(make_keys(self.keys), folder / "store", self.port, sync_interval="1m")
        before, users, after = config.rpartition("users: [\n")  # the last account is the services'
        config = f"{before}{users}    {{ user: teller, password: teller }}\n{after}"
        (folder / "nats.conf").write_text(config)
        words = ["/usr/bin/setpriv", "--pdeathsig", "KILL", "--", binary(), "-c", str(folder / "nats.conf")]
        self.process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(500):
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.02)
        raise RuntimeError("nats-server did not start")

    def fill(self, facts: Iterator[history.Told]) -> int:
        """Put them on the stream in atomic batches. Returns how many."""
        line = socket.create_connection(("127.0.0.1", self.port), 60)
        line.sendall(b'CONNECT {"verbose":false,"headers":true,"user":"teller","pass":"teller"}\r\nSUB ack.fill 1\r\n')
        told, number, heard = 0, 0, b""
        while batch := list(islice(facts, ATOMIC)):
            parts, number = [], number + 1
            for place, (subject, body) in enumerate(batch, 1):
                told += 1
                owner = subject.split(".")[1]
                head = f"NATS/1.0\r\nce-id: {owner}-0193c0de-0000-7000-8000-{told:012x}\r\nce-type: {subject.rsplit('.', 2)[0]}\r\n"
                head += f"Nats-Batch-Id: fill-{number}\r\nNats-Batch-Sequence: {place}\r\n"
                last = place == len(batch)
                head += "Nats-Batch-Commit: 1\r\n\r\n" if last else "\r\n"
                reply = " ack.fill" if last else ""
                parts.append(f"HPUB {subject}{reply} {len(head)} {len(head) + len(body)}\r\n{head}".encode() + body + b"\r\n")
            line.sendall(b"".join(parts))
            while b"ack.fill" not in heard or b"}" not in heard.split(b"ack.fill", 1)[1]:
                heard += line.recv(65536)
            if b'"error"' in heard or b"-ERR" in heard:
                raise RuntimeError(heard.decode())
            heard = b""
        line.close()
        return told


async def measure(facts: int, quick: bool) -> dict[str, Any]:
    folder = Path(tempfile.mkdtemp(prefix="kiops-bench-"))
    nats = Filled(folder / "data")
    nats.start()
    product, reading, bare = Series(), Series(), Series()
    size = 0
    try:
        await bootstrap(nats.url, nats.keys)
        told = nats.fill(history.told(facts))
        bus = Bus("gateway", nats.url, nats.keys / "gateway.nk")
        await bus.open()
        created = (await bus.api_call(f"STREAM.INFO.{EVENTS}"))["created"]
        for turn in rounds(quick):
            for part in turn.order("product", "reading", "bare"):
                await bus.api_call(f"CONSUMER.RESET.{EVENTS}.{REBUILD['gateway']}", {"seq": 1})
                with others_busy() as busy:
                    began = time.perf_counter()
                    if part == "product":
                        size = await rebuilt(nats, folder / f"{turn.number}.db", created, told)
                    elif part == "reading":
                        read(nats, told)
                    else:
                        written(folder / "bare.db", told)
                    took = (time.perf_counter() - began) / told * 1e6
                {"product": product, "reading": reading, "bare": bare}[part].add(took, n=told, others=busy.cores)
        await bus.close()
    finally:
        nats.stop()
        shutil.rmtree(folder, ignore_errors=True)
    note = f"{told} facts; microseconds a fact are seconds a million"
    return report(
        Figure("rebuild, a fact (floor: read and decode)", "us", product, reading, must=40, aim=25, note=note),
        Figure("rebuild, a fact (floor: a row in bare SQLite)", "us", product, bare),
        megabytes=round(size / 1e6, 1),
    )


async def rebuilt(nats: Filled, file: Path, created: str, until: int) -> int:
    """From the start of the process until all of it is on disk. Returns the size of the fresh file."""
    task = Task(nats.url, str(nats.keys / "gateway.nk"), "$JS.API", created, str(file))
    async with Child(task, "", lambda told: None) as child:
        await child.safe_at(until)
    with sqlite3.connect(file) as connection:
        position = connection.execute("select position from stream_position").fetchone()[0]
        runs = connection.execute("select count(*) from runs").fetchone()[0]
        aside = connection.execute("select count(*) from parked").fetchone()[0]
    if (position, aside) != (until, 0) or runs < until // history.FACTS_A_RUN // 2:
        raise RuntimeError(f"rebuilt to {position} of {until}: {runs} runs, {aside} parked")
    size = file.stat().st_size
    file.unlink()
    return size


def read(nats: Filled, count: int) -> None:
    """Read everything and decode it, nothing else."""
    decode = {fact.type(): reader(fact) for fact in PROJECTIONS}
    stream = Stream(nats.url, nats.keys / "gateway.nk", "gateway", REBUILD["gateway"])
    left = count
    while found := stream.read(20_000):
        for each in found:
            decode[each.envelope.subject.rsplit(".", 2)[0]](each.body)
        left -= len(found)
    stream.close()
    if left:
        raise RuntimeError(f"{left} facts were not read")


def written(file: Path, count: int) -> None:
    """A row of ten columns for each fact, with a text key, 20,000 in a transaction."""
    connection = sqlite3.connect(file, isolation_level=None)
    connection.execute("pragma journal_mode=MEMORY").close()
    connection.execute("pragma synchronous=OFF")
    connection.execute("create table t (id text primary key, a text, b text, c text, d text, e text, f int, g int, h int, i int)")
    pad = base64.b32encode(b"x" * 20).decode()
    for start in range(0, count, 20_000):
        rows = [(f"run_{n:032x}", pad, pad, pad, pad, pad, n, n, n, n) for n in range(start, min(start + 20_000, count))]
        connection.execute("begin")
        connection.executemany("insert into t values (?,?,?,?,?,?,?,?,?,?)", rows)
        connection.execute("commit")
    connection.close()
    file.unlink()


if __name__ == "__main__":
    import sys

    print(json.dumps(run("--quick" in sys.argv), indent=None if "--json" in sys.argv else 1))
