"""The worker process that evaluates Rego. Started by file, in isolation; it knows nothing of KIOPS.

Frames on both pipes: 4 bytes big-endian length, then JSON. A request is {"rule", "input", "hash", "modules"?, "data"?}; modules
and data come when the worker has not seen the hash yet. The answer is {"result"}, {"undefined": true}, {"error"}, or
{"unknown": true} when the hash is new and the bundle did not come along. The memory limit holds for the whole process, the
processor time for each request.

    python -I regorus_worker.py MEMORY_BYTES CPU_SECONDS
"""

import json
import resource
import struct
import sys
from typing import Any, BinaryIO


def read_frame(pipe: BinaryIO) -> bytes | None:
    """One frame, None at the end of the pipe."""
    head = pipe.read(4)
    if len(head) < 4:
        return None
    length = struct.unpack(">I", head)[0]
    body = pipe.read(length)
    return body if len(body) == length else None


def limit_cpu(seconds: int) -> None:
    """Let this process use this many more seconds of processor time; then the kernel ends it."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    used = int(usage.ru_utime + usage.ru_stime)
    resource.setrlimit(resource.RLIMIT_CPU, (used + seconds + 1, resource.getrlimit(resource.RLIMIT_CPU)[1]))


class Evaluator:
    """The engine with the bundle it saw last."""

    def __init__(self) -> None:
        self.hash = ""
        self.engine: Any = None

    def load(self, request: dict[str, Any]) -> None:
        import regorus

        engine = regorus.Engine()
        for name, text in sorted(request["modules"].items()):
            engine.add_policy(name, text)
        engine.add_data_json(json.dumps(request["data"]))
        self.engine, self.hash = engine, request["hash"]

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        if request["hash"] != self.hash:
            if "modules" not in request:
                return {"unknown": True}
            self.load(request)
        self.engine.set_input_json(json.dumps(request["input"]))
        value = json.loads(self.engine.eval_rule_as_json(request["rule"]))
        # regorus writes an undefined rule as this word, OPA leaves `result` out.
        return {"undefined": True} if value == "<undefined>" else {"result": value}


def main() -> None:
    memory, cpu = int(sys.argv[1]), int(sys.argv[2])
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    evaluator = Evaluator()
    while (body := read_frame(sys.stdin.buffer)) is not None:
        limit_cpu(cpu)
        try:
            reply = evaluator.answer(json.loads(body))
        except MemoryError:
            sys.exit(70)
        except Exception as error:
            # A bundle that failed to load half-way must not answer the next request.
            evaluator = Evaluator()
            reply = {"error": str(error).split("Stack backtrace")[0].strip()[:2000]}
        out = json.dumps(reply).encode()
        sys.stdout.buffer.write(struct.pack(">I", len(out)) + out)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
