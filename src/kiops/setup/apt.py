"""Debian packages: which are missing for what is asked, and installing them."""

from __future__ import annotations

import glob
import importlib.util
import os
from collections.abc import Callable, Iterable

from kiops.setup import commands


def _program(name: str) -> Callable[[], bool]:
    return lambda: commands.find(name) is not None


def _venv() -> bool:
    return importlib.util.find_spec("ensurepip") is not None and importlib.util.find_spec("venv") is not None


def _static_busybox() -> bool:
    """The static one: a dynamic busybox cannot be the only file of an image."""
    return os.path.exists("/usr/share/doc/busybox-static") or os.path.exists("/bin/busybox.static")


# What a group needs: package -> is it there already?
PYTHON = {"python3-venv": _venv}
SOURCE = {"git": _program("git"), "openssh-client": _program("ssh")}
ENGINE = {
    "docker.io": _program("dockerd"),
    "iptables": _program("iptables"),
    "ca-certificates": lambda: os.path.exists("/etc/ssl/certs/ca-certificates.crt"),
}
BASE_IMAGE = {"busybox-static": _static_busybox}
TESTS = {
    "chromium": _program("chromium"),
    "postgresql": lambda: bool(glob.glob("/usr/lib/postgresql/*/bin/initdb")),
    "libatomic1": lambda: bool(glob.glob("/usr/lib/*/libatomic.so.1")),  # Node.js, which drives the browser
    "strace": _program("strace"),
    "procps": _program("ps"),
    "iproute2": _program("ip"),
}


def missing(packages: dict[str, Callable[[], bool]]) -> list[str]:
    """Names of those that are not there, in their order."""
    return [name for name, there in packages.items() if not there()]


def available() -> bool:
    """Whether this system has apt at all."""
    return commands.find("apt-get") is not None


def update() -> None:
    """Fetches the package lists."""
    _apt("update", "-qq")


def install(names: Iterable[str]) -> None:
    """Installs without recommended packages and without a question."""
    if names := list(names):
        _apt("install", "-y", "-qq", "--no-install-recommends", *names)


def _apt(*arguments: str) -> None:
    commands.run(
        [
            *commands.as_root(), "env", "DEBIAN_FRONTEND=noninteractive", "apt-get",
            "-o", "DPkg::Lock::Timeout=180", "-o", "Dpkg::Use-Pty=0", *arguments,
        ],
        log="apt",
        doing=f"apt-get {arguments[0]}",
        code="setup.apt_failed",
    )  # fmt: skip
