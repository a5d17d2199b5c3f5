"""Fetches the front-end files that are committed, from the npm registry, by name, version and hash.

    python tools/vendor.py            fetch, verify, write the files, the sprite and their hashes into the manifest
    python tools/vendor.py --check    compare the committed files with the manifest; needs no network

The manifest is `services/gateway/vendored.json`. A package whose archive has another hash is refused. Packages under
`tests` are never committed: `archive_file` puts one of their files into a cache folder for the browser tests.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import re
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MANIFEST = ROOT / "services/gateway/vendored.json"
STATES = ROOT / "services/gateway/src/gateway/static/states.svg"


class Mismatch(RuntimeError):
    """An archive or a committed file is not what the manifest says."""


def manifest() -> dict:
    return json.loads(MANIFEST.read_text())


def archive(package: dict) -> dict[str, bytes]:
    """The files of a package, by their path inside it. Raises Mismatch when the archive's hash is another one."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["npm", "pack", "--silent", "--pack-destination", folder, f"{package['name']}@{package['version']}"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        data = next(Path(folder).glob("*.tgz")).read_bytes()
    seen = hashlib.sha256(data).hexdigest()
    if seen != package["sha256"]:
        raise Mismatch(f"{package['name']} {package['version']}: sha256 {seen}, the manifest says {package['sha256']}")
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {m.name.split("/", 1)[1]: tar.extractfile(m).read() for m in tar if m.isfile()}


def archive_file(name: str, path: str, cache: Path) -> Path:
    """One file of a package under `tests`, fetched once into `cache`, by version and hash."""
    package = next(p for p in manifest()["tests"] if p["name"] == name)
    target = cache / f"{name.replace('/', '-')}-{package['version']}-{package['sha256'][:12]}" / Path(path).name
    if not target.exists():
        data = archive(package)[path]
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_suffix(".part")
        part.write_bytes(data)
        part.rename(target)
    return target


def symbol(name: str, svg: str) -> str:
    """One icon as a symbol. Strokes keep their width at every size; colour and shape of the line are inherited."""
    inner = re.search(r"<svg[^>]*>(.*)</svg>", svg, re.S).group(1)
    inner = re.sub(r'\s*<path stroke="none" d="M0 0h24v24H0z" fill="none"\s*/>', "", inner)
    inner = re.sub(r"\s+", " ", inner).strip().replace(" />", "/>")
    inner = inner.replace("/>", ' vector-effect="non-scaling-stroke"/>')
    return f'<symbol id="i-{name}" viewBox="0 0 24 24">{inner}</symbol>'


def sprite(icons: list[str], files: dict[str, bytes]) -> str:
    symbols = [symbol(name, files[f"icons/outline/{name}.svg"].decode()) for name in icons]
    return "\n".join(['<svg xmlns="http://www.w3.org/2000/svg">', STATES.read_text().strip(), *symbols, "</svg>", ""])


def write() -> None:
    m = manifest()
    static = ROOT / m["static"]
    written: dict[str, str] = {}

    def put(path: str, data: bytes) -> None:
        (static / path).parent.mkdir(parents=True, exist_ok=True)
        (static / path).write_bytes(data)
        written[path] = hashlib.sha256(data).hexdigest()

    for package in m["packages"]:
        files = archive(package)
        for inside, path in package["files"].items():
            # The source maps are not shipped, so nothing may point at them.
            put(path, re.sub(rb"\n//# sourceMappingURL=.*", b"", files[inside]))
        if "icons" in package:
            put("sprite.svg", sprite(package["icons"], files).encode())
        print(f"{package['name']} {package['version']}: {len(package['files'])} files")
    m["written"] = dict(sorted(written.items()))
    MANIFEST.write_text(json.dumps(m, indent=2) + "\n")


def check() -> list[str]:
    """What is wrong with the committed files, in words; empty when all is as the manifest says."""
    m = manifest()
    static, wrong = ROOT / m["static"], []
    for path, expected in m["written"].items():
        file = static / path
        if not file.exists():
            wrong.append(f"{path} is missing")
        elif hashlib.sha256(file.read_bytes()).hexdigest() != expected:
            wrong.append(f"{path} is not what was vendored")
    known = set(m["written"])
    for file in (static / "vendor").rglob("*"):
        if file.is_file() and str(file.relative_to(static)) not in known:
            wrong.append(f"{file.relative_to(static)} is not in the manifest")
    return wrong


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare only; needs no network")
    if parser.parse_args().check:
        problems = check()
        print("\n".join(problems) or "all vendored files are as the manifest says")
        sys.exit(1 if problems else 0)
    write()
