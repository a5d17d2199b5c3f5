"""How the command line speaks: shapes of errors, exit codes, JSON and nothing else, settings with their sentences."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from kiops import settings, terminal
from kiops.terminal import Exit

TOKEN = "t" * 20


class Gateway(BaseHTTPRequestHandler):
    """Answers like the API: one service, and a problem for everything else."""

    problem = (404, {"code": "service.not_found", "detail": "there is no service nix", "advice": "kiops services list"})

    def do_GET(self) -> None:
        if self.headers["Authorization"] != f"Bearer {TOKEN}":
            return self._say(401, {"code": "access.signed_out", "detail": "Sign in."}, "application/problem+json")
        if self.path.startswith("/api/v1/services?"):
            return self._say(200, {"items": [], "next": None}, "application/json")
        status, body = self.problem
        return self._say(status, body, "application/problem+json")

    do_POST = do_GET

    def _say(self, status: int, body: dict, kind: str) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def gateway() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Gateway)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def kiops(*arguments: str, home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {"PATH": "/usr/bin:/bin", "KIOPS_HOME": str(home), "HOME": str(home), **environment}
    return subprocess.run([sys.executable, "-m", "kiops", *arguments], env=env, capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("status", "code"), [(404, 2), (422, 2), (403, 1), (409, 1), (503, 3), (429, 3), (500, 4)]
)  # fmt: skip
def test_the_exit_code_says_what_kind_of_no(gateway: str, tmp_path: Path, status: int, code: int) -> None:
    Gateway.problem = (status, {"code": "x.y", "detail": "it did not work", "advice": "do this"})
    done = kiops("runs", "show", "run_1", home=tmp_path, KIOPS_URL=gateway, KIOPS_TOKEN=TOKEN)
    assert done.returncode == code
    lines = done.stderr.splitlines()
    assert lines[0] == "✗ it did not work"
    assert lines[1] == "  do        do this"
    assert lines[-1] == "  code      x.y"
    assert done.stdout == ""


@pytest.mark.slow
def test_not_signed_in_says_how_to(gateway: str, tmp_path: Path) -> None:
    done = kiops("services", "list", home=tmp_path, KIOPS_URL=gateway, KIOPS_TOKEN="wrong")
    assert done.returncode == 2 and "kiops login" in done.stderr


@pytest.mark.slow
def test_json_is_all_there_is_on_standard_output(gateway: str, tmp_path: Path) -> None:
    done = kiops("services", "list", "--json", home=tmp_path, KIOPS_URL=gateway, KIOPS_TOKEN=TOKEN)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    done = kiops("status", "--json", home=tmp_path)
    told = json.loads(done.stdout)
    assert done.returncode == 1 and told["ready"] is False and told["services"] == {} and told["rss_mb"] == 0


@pytest.mark.slow
def test_nobody_there(tmp_path: Path) -> None:
    done = kiops("services", "list", home=tmp_path)
    assert done.returncode == 3 and "client.not_running" in done.stderr
    done = kiops("services", "list", home=tmp_path, KIOPS_URL="http://127.0.0.1:9", KIOPS_TOKEN=TOKEN)
    assert done.returncode == 3 and "client.away" in done.stderr


def test_asked_wrongly(tmp_path: Path) -> None:
    assert kiops("nonsense", home=tmp_path).returncode == 2
    done = kiops("serve", "nonsense", home=tmp_path)
    assert done.returncode == 2 and "serve.unknown" in done.stderr


@pytest.mark.slow
def test_login_keeps_the_token_to_ourselves(gateway: str, tmp_path: Path) -> None:
    Gateway.problem = (200, {"name": "ada", "role": "admin"})
    env = {"PATH": "/usr/bin:/bin", "KIOPS_HOME": str(tmp_path), "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "kiops", "login", gateway, "--token-stdin"], input=f"{TOKEN}\n", env=env,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert TOKEN not in done.stdout + done.stderr
    saved = tmp_path / ".config" / "kiops" / "login.json"
    assert saved.stat().st_mode & 0o777 == 0o600 and json.loads(saved.read_text())["token"] == TOKEN


def test_every_setting_has_a_sentence_and_its_unit() -> None:
    rows = settings.every()
    assert len(rows) > 50
    for name, _, _, says, _ in rows:
        assert says.endswith(".") and " " in says, name
    names = [row[0] for row in rows]
    assert len(set(names)) == len(names)


def test_secret_settings_are_not_shown(tmp_path: Path) -> None:
    secret = "pw-" + "x" * 12
    done = kiops("settings", home=tmp_path, GATEWAY_ADMIN_PASSWORD=secret)
    assert "GATEWAY_ADMIN_PASSWORD=(set)" in done.stdout and secret not in done.stdout


def test_tables_are_plain_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.table(("run", "state"), [("#1", "success"), ("#22", None)], nothing="none")
    assert capsys.readouterr().out == "run  state\n#1   success\n#22\n"
    terminal.table(("run",), [], nothing="No run yet.")
    assert capsys.readouterr().out == "No run yet.\n"


def test_a_defect_names_the_place_of_the_report(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        terminal.fail("broken", code="kiops.defect", exit_code=Exit.DEFECT)
    assert ended.value.code == 4 and "report" in capsys.readouterr().err


@pytest.mark.parametrize(("ms", "text"), [(3, "3 ms"), (2600, "2.6 s"), (250_000, "4 min 10 s"), (None, "")])
def test_durations(ms: float | None, text: str) -> None:
    assert terminal.seconds(ms) == text


def test_a_wrong_setting_is_the_askers_and_its_value_is_not_shown(tmp_path: Path) -> None:
    """Exit 2 with the variable's name; the value may be a secret that was put in the wrong place."""
    done = subprocess.run(
        [sys.executable, "-m", "kiops", "serve", "all", "--data", str(tmp_path), "--port", "0"],
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "KIOPS_LEASE_SECONDS": "put-here-by-mistake"},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == Exit.ASKED_WRONGLY
    assert "KIOPS_LEASE_SECONDS" in done.stderr and "settings.wrong" in done.stderr and "mistake" not in done.stderr
