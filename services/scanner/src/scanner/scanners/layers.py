"""What lies in a saved image: run as a program of its own (`python layers.py IMAGE.tar`), it prints one JSON object.

{"layers": n, "files": n, "kinds": {"python": n, "node": n, "jar": n, "ruby": n, "os": n}}: the files that are there after all
layers, and how many of them describe installed packages. It is the measure for what Trivy says it read. A program of its own
because listing a large image takes seconds of a processor, which the service must not spend in its loop.
"""

import json
import re
import sys
import tarfile

KINDS = {
    "python": re.compile(r"\.dist-info/METADATA$|\.egg-info(?:/PKG-INFO)?$"),
    "node": re.compile(r"(?:^|/)node_modules/(?:@[^/]+/)?[^/]+/package\.json$"),
    "jar": re.compile(r"\.(?:jar|war|ear)$"),
    "ruby": re.compile(r"/specifications/[^/]+\.gemspec$"),
    "os": re.compile(
        r"^var/lib/dpkg/status(?:\.d/.+)?$|^lib/apk/db/installed$|^(?:var/lib|usr/lib/sysimage)/rpm/(?:Packages|rpmdb)[^/]*$"
    ),
}


def kind_of(path: str) -> str:
    """Which kind of package description a path is, "" for other files."""
    for kind, pattern in KINDS.items():
        if pattern.search(path):
            return kind
    return ""


def listed(path: str) -> dict[str, object]:
    """Read a saved image. Raises tarfile.TarError, KeyError, ValueError or OSError when it is none."""
    files: dict[str, int] = {}
    with tarfile.open(path) as image:
        manifest = image.extractfile("manifest.json")
        if manifest is None:
            raise ValueError("the archive has no manifest.json")
        layers = json.load(manifest)[0]["Layers"]
        for layer in layers:
            opened = image.extractfile(layer)
            if opened is None:
                raise ValueError(f"layer {layer} is not in the archive")
            with tarfile.open(fileobj=opened) as content:
                _lay(files, content)
    kinds = dict.fromkeys(KINDS, 0)
    for name, size in files.items():
        kind = kind_of(name)
        if kind and size:
            kinds[kind] += 1
    return {"layers": len(layers), "files": len(files), "kinds": kinds}


def _lay(files: dict[str, int], content: tarfile.TarFile) -> None:
    """Put one layer over the ones below it; `.wh.` files take away."""
    gone: list[str] = []
    added: dict[str, int] = {}
    for member in content:
        name = member.name.removeprefix("./").lstrip("/")
        folder, _, last = name.rpartition("/")
        if last == ".wh..wh..opq":
            gone.append(f"{folder}/")
        elif last.startswith(".wh."):
            gone.append(f"{folder}/{last[4:]}".lstrip("/"))
        elif not member.isdir():
            added[name] = member.size
    for path in gone:
        inside = path if path.endswith("/") else f"{path}/"
        for name in [name for name in files if name == path or name.startswith(inside)]:
            del files[name]
    files.update(added)


if __name__ == "__main__":
    print(json.dumps(listed(sys.argv[1])))
