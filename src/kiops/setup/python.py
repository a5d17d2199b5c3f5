"""Virtual environments from hash-pinned locks: pip installs uv, uv does the rest."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from kiops.setup import commands, places

READY = "kiops-ready"


def ready(environment: Path) -> bool:
    """Whether this environment was made to the end."""
    return (environment / READY).exists()


@contextmanager
def only_one(name: str) -> Iterator[None]:
    """Two starts at once make an environment one after the other; the second finds it made."""
    places.home().mkdir(parents=True, exist_ok=True, mode=0o700)
    with (places.home() / f".{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def uv() -> Path:
    """uv at its locked version, in an environment of its own; made with pip when it is not there."""
    lock = places.CHECKOUT / "requirements" / "bootstrap.txt"
    folder = places.home() / "uv"
    with only_one("uv"):
        stamp = folder / READY
        if not stamp.exists() or stamp.read_text() != lock.read_text():
            shutil.rmtree(folder, ignore_errors=True)
            _run([_system_python(), "-m", "venv", folder], "making a virtual environment")
            pip = [folder / "bin" / "python", "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
            _run([*pip, "--no-deps", "--require-hashes", "--only-binary=:all:", "-r", lock], "installing uv with pip")
            stamp.write_text(lock.read_text())
    return folder / "bin" / "uv"


def members() -> list[Path]:
    """The folders of this checkout's distributions."""
    return [places.CHECKOUT / "shared", *sorted((places.CHECKOUT / "services").iterdir()), places.CHECKOUT]


def make(environment: Path, lock: Path, *, members: Sequence[Path], compiled: bool = True) -> None:
    """Makes the environment with exactly the lock's content, and these members of the checkout, editable."""
    program = uv()
    with only_one(environment.name):
        if ready(environment):
            return
        shutil.rmtree(environment, ignore_errors=True)
        environment.parent.mkdir(parents=True, exist_ok=True)
        _run([program, "venv", "--quiet", "--python", _system_python(), environment], "making a virtual environment")
        python = ["--quiet", "--python", environment / "bin" / "python"]
        install = [program, "pip", "install", *python, "--require-hashes", "--no-deps", "--no-build-isolation"]
        if members:
            _run([*install, "-r", places.CHECKOUT / "requirements" / "build.txt"], "installing build tools")
        _run([*install, "-r", lock], "installing packages")
        if members:
            paths = [part for folder in members for part in ("--editable", folder)]
            _run(
                [program, "pip", "install", *python, "--no-deps", "--no-build-isolation", "--offline", *paths],
                "installing KIOPS itself",
            )
        if compiled:
            _compile(environment)
        (environment / READY).write_text(str(places.CHECKOUT))


def forget_older(current: Path) -> None:
    """Removes environments of this checkout that other locks made."""
    kind = current.name.rsplit("-", 1)[-1]
    for folder in current.parent.glob(f"*-{kind}"):
        stamp = folder / READY
        if folder != current and stamp.exists() and stamp.read_text() == str(places.CHECKOUT):
            shutil.rmtree(folder, ignore_errors=True)


def _compile(environment: Path) -> None:
    """Byte code for everything, so that the first start is as fast as the second."""
    python = environment / "bin" / "python"
    sources = [places.CHECKOUT / "src", places.CHECKOUT / "shared" / "src", places.CHECKOUT / "services"]
    subprocess.run(
        [str(python), "-m", "compileall", "-q", "-j", "0", str(environment / "lib"), *map(str, sources)],
        check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def _system_python() -> str:
    """The interpreter below this one, outside any virtual environment."""
    return str(Path(sys.base_prefix) / "bin" / f"python{sys.version_info[0]}.{sys.version_info[1]}")


def _run(argv: list, doing: str) -> None:
    commands.run(argv, log="python", doing=doing, code="setup.python_failed", env=_uv_environment())


def _uv_environment() -> dict[str, str]:
    """This process's environment, with the index and certificates that pip is configured with, for uv."""
    env = dict(os.environ)
    env.pop("VIRTUAL_ENV", None)
    env.update(UV_PYTHON_DOWNLOADS="never", UV_NO_PROGRESS="1")
    env.setdefault("UV_HTTP_TIMEOUT", "180")
    env.setdefault("UV_SYSTEM_CERTS", "1")
    pip = _pip_configuration()
    if "UV_DEFAULT_INDEX" not in env and "UV_INDEX_URL" not in env and (index := pip.get("index-url")):
        env["UV_DEFAULT_INDEX"] = index
    if "UV_INDEX" not in env and "UV_EXTRA_INDEX_URL" not in env and (extra := pip.get("extra-index-url")):
        env["UV_INDEX"] = " ".join(extra.split())
    if "SSL_CERT_FILE" not in env and (cert := pip.get("cert")):
        env["SSL_CERT_FILE"] = cert
    return env


def _pip_configuration() -> dict[str, str]:
    """pip's settings from its files and PIP_ variables, as pip itself ranks them."""
    import configparser

    config_home = Path(os.environ.get("XDG_CONFIG_HOME") or places.user_home() / ".config")
    files = [Path("/etc/pip.conf"), places.user_home() / ".pip" / "pip.conf", config_home / "pip" / "pip.conf"]
    if named := os.environ.get("PIP_CONFIG_FILE"):
        files.append(Path(named))
    found: dict[str, str] = {}
    for file in files:
        parser = configparser.RawConfigParser()
        try:
            parser.read(file)
        except (configparser.Error, OSError):
            continue
        for section in ("global", "install"):
            if parser.has_section(section):
                found.update(parser.items(section))
    for name in ("index-url", "extra-index-url", "cert"):
        if value := os.environ.get(f"PIP_{name.upper().replace('-', '_')}"):
            found[name] = value
    return found
