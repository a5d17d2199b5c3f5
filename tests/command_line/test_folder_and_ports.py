"""One platform per data folder, and a port whose owner is named."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from kiops import folder, ports


def test_a_second_start_is_told_who_runs(tmp_path: Path) -> None:
    lock = folder.take(tmp_path)
    folder.write_state(tmp_path, pid=os.getpid(), url="http://127.0.0.1:1")
    code = (
        "import sys\nfrom pathlib import Path\nfrom kiops import folder\n"
        "try:\n    folder.take(Path(sys.argv[1]))\nexcept folder.AlreadyRunning as other:\n    print(other.pid, other.url)\n"
    )
    # The state is believed only of a process that is ours, so the name has to be in this command line.
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    expected = str(os.getpid()) if b"kiops" in Path("/proc/self/cmdline").read_bytes() else "0"
    assert done.stdout.split()[0] == expected
    lock.close()
    assert not folder.is_taken(tmp_path)


def test_the_data_folder_is_ours_alone(tmp_path: Path) -> None:
    folder.take(tmp_path / "data").close()
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700


def test_what_a_dead_process_told_is_not_believed(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", "pass"])
    gone.wait()
    folder.write_state(tmp_path, pid=gone.pid, url="http://127.0.0.1:1")
    assert json.loads((tmp_path / "up.json").read_text())["pid"] == gone.pid
    assert folder.read_state(tmp_path) is None


def test_a_taken_port_names_its_owner() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ports.PortTaken) as taken:
            ports.listen("127.0.0.1", port)
    assert str(taken.value).startswith(f"port {port} is taken by pid {os.getpid()} (")


def test_a_free_port_is_listened_on() -> None:
    with ports.listen("127.0.0.1", 0) as listener:
        socket.create_connection(listener.getsockname(), timeout=1).close()
