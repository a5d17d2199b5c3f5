"""Small images for tests, made without a container engine: an archive as `docker load` takes it."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path


def layer(files: dict[str, str | bytes]) -> bytes:
    """One layer with these files; a name ending in .wh.x takes x away."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in sorted(files.items()):
            data = content.encode() if isinstance(content, str) else content
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def archive(to: Path, layers: list[bytes], *, name: str, environment: list[str] = (), user: str = "1000") -> str:  # type: ignore[assignment]
    """Write the archive and return the image id."""
    digests = [hashlib.sha256(one).hexdigest() for one in layers]
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "created": "2026-11-01T00:00:00Z",
            "config": {"Env": list(environment), "Cmd": ["/app"], "User": user},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}" for digest in digests]},
            "history": [{"created_by": "COPY . /"} for _ in digests],
        }
    ).encode()
    image = hashlib.sha256(config).hexdigest()
    paths = [f"{digest}/layer.tar" for digest in digests]
    manifest = json.dumps([{"Config": f"{image}.json", "RepoTags": [name], "Layers": paths}]).encode()
    with tarfile.open(to, "w") as tar:
        for path, data in [(f"{image}.json", config), *zip(paths, layers, strict=True), ("manifest.json", manifest)]:
            entry = tarfile.TarInfo(path)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return f"sha256:{image}"


def python_package(name: str, version: str, licence: str = "MIT") -> dict[str, str | bytes]:
    """The files by which an installed Python package is known."""
    folder = f"usr/lib/python3/dist-packages/{name}-{version}.dist-info"
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    if licence:
        lines.append(f"License: {licence}")
    return {f"{folder}/METADATA": "\n".join(lines) + "\n", f"{folder}/RECORD": ""}


DEBIAN = {
    "etc/os-release": 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\nVERSION_ID="12"\n',
    "etc/debian_version": "12.5\n",
    "var/lib/dpkg/status": (
        "Package: zlib1g\nStatus: install ok installed\nArchitecture: amd64\nSource: zlib\nVersion: 1:1.2.13.dfsg-1\n\n"
    ),
    "usr/share/doc/zlib1g/copyright": "License: Zlib\n",
}
