"""The images that compose.yaml names, made of this machine's own programs where no registry can be asked.

Each is a busybox, the programs it is for, and the libraries these load. The Python base also has the wheels of our locks, so that
the Dockerfile's own commands install from them without a network.
"""

from __future__ import annotations

import glob
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote

from shared.testing.nats import binary
from shared.testing.parts import DockerEngine, cache

from kiops.setup import python

REPOSITORY = Path(__file__).parents[2]
LABEL = "kiops.test.local-image"
PYTHON = "/usr/bin/python3.11"
LIBRARIES = ("libgcc_s.so.1", "libstdc++.so.6", "libm.so.6", "libnss_dns.so.2", "libnss_files.so.2", "libresolv.so.2",
             "librt.so.1", "libdl.so.2", "libpthread.so.0", "libutil.so.1")  # fmt: skip
NOT_NEEDED = ("test", "idlelib", "lib2to3", "tkinter", "turtledemo", "__pycache__", "ensurepip", "pydoc_data", "dist-packages",
              "EXTERNALLY-MANAGED")  # fmt: skip
SHELL = (
    "sh cat cp rm ln ls mkdir mv chmod chown env id echo sed grep true false sleep test [ head tail wc tr cut basename dirname "
    "wget tar find sort uniq date kill ps mkfifo touch xargs install"
).split()


class Image:
    """Files of an image in the making; `tar()` is what `docker import` takes."""

    def __init__(self, busybox: Path) -> None:
        self._buffer = io.BytesIO()
        self._archive = tarfile.open(fileobj=self._buffer, mode="w")
        self._there: set[str] = set()
        for name in ("bin", "lib", "lib64", "sbin"):
            self.folder(f"usr/{name}")
            self.link(name, f"usr/{name}")
        for name in ("etc", "var", "root", "run", "proc", "sys", "dev", "usr/local/bin"):
            self.folder(name)
        self.folder("tmp", 0o1777)
        self.folder("var/tmp", 0o1777)
        self.file("usr/bin/busybox", busybox.read_bytes(), 0o755)
        for applet in SHELL:
            self.link(f"usr/bin/{applet}", "busybox")
        self.file("etc/nsswitch.conf", b"passwd: files\ngroup: files\nhosts: files dns\n")
        self.file(
            "etc/passwd",
            b"root:x:0:0:root:/root:/bin/sh\npostgres:x:70:70::/var/lib/postgresql:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
        )
        self.file("etc/group", b"root:x:0:\npostgres:x:70:\nnogroup:x:65534:\n")

    def folder(self, name: str, mode: int = 0o755) -> None:
        if name in self._there or not name:
            return
        self.folder(os.path.dirname(name))
        entry = tarfile.TarInfo(name)
        entry.type, entry.mode = tarfile.DIRTYPE, mode
        self._archive.addfile(entry)
        self._there.add(name)

    def link(self, name: str, target: str) -> None:
        if name not in self._there:
            self.folder(os.path.dirname(name))
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname, entry.mode = tarfile.SYMTYPE, target, 0o777
            self._archive.addfile(entry)
            self._there.add(name)

    def file(self, name: str, content: bytes, mode: int = 0o644) -> None:
        if name not in self._there:
            self.folder(os.path.dirname(name))
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), mode
            self._archive.addfile(entry, io.BytesIO(content))
            self._there.add(name)

    def copy(self, path: str | Path, to: str = "") -> None:
        """A file of this machine, at its own place or at another, with the libraries it loads."""
        path = str(path)
        mode = os.stat(path).st_mode & 0o777
        self.file(to or _place(path), Path(path).read_bytes(), mode)
        for library in needs([path]):
            self.file(_place(library), Path(library).read_bytes(), 0o755)

    def tree(self, folder: str, leave_out: Iterable[str] = ()) -> None:
        """A folder of this machine at its own place; its programs' and modules' libraries too."""
        programs = []
        for at, names, files in os.walk(folder):
            names[:] = [name for name in names if name not in leave_out]
            for name in files:
                path = os.path.join(at, name)
                if name in leave_out or not os.path.exists(path):
                    continue
                if os.path.islink(path):
                    self.link(_place(path), os.readlink(path))
                    if os.path.realpath(path).startswith(os.path.realpath(folder)):
                        continue
                    path = os.path.realpath(path)
                self.file(_place(path), Path(path).read_bytes(), os.stat(path).st_mode & 0o777)
                if ".so" in name or (os.access(path, os.X_OK) and Path(path).open("rb").read(4) == b"\x7fELF"):
                    programs.append(path)
        for library in needs(programs):
            self.file(_place(library), Path(library).read_bytes(), 0o755)

    def tar(self) -> bytes:
        self._archive.close()
        return self._buffer.getvalue()


def _place(path: str) -> str:
    """Where a file lies in an image whose /bin and /lib are links into /usr, as this machine's may be."""
    folder = os.path.realpath(os.path.dirname(path)).lstrip("/")
    for name in ("bin", "lib", "lib64", "sbin"):
        if folder == name or folder.startswith(name + "/"):
            folder = "usr/" + folder
    return f"{folder}/{os.path.basename(path)}"


def needs(programs: list[str]) -> list[str]:
    """The libraries that these load, as the linker finds them here."""
    if not programs:
        return []
    told = subprocess.run(["ldd", *programs], capture_output=True, text=True, check=False).stdout
    words = (word for line in told.splitlines() if line.startswith("\t") for word in line.split())
    return sorted({word for word in words if word.startswith("/")})


def load(engine: DockerEngine, name: str, image: Image, changes: Iterable[str]) -> None:
    """Imports the image under the name that compose.yaml uses."""
    repository, _, tag = name.rpartition(":")
    query = f"fromSrc=-&repo={quote(repository, safe='')}&tag={quote(tag)}"
    query += "".join(f"&changes={quote(change)}" for change in (*changes, f"LABEL {LABEL}=true"))
    status, said = engine.request("POST", f"/images/create?{query}", image.tar(), timeout_seconds=120)
    if status != 200 or b"errorDetail" in said:
        raise RuntimeError(f"the engine did not import {name}: {said[-300:]!r}")


def there(engine: DockerEngine, name: str) -> bool:
    return engine.request("GET", f"/images/{name}/json")[0] == 200


def ours(engine: DockerEngine, name: str) -> bool:
    """Whether the image of this name was made here."""
    status, said = engine.request("GET", f"/images/{name}/json")
    return status == 200 and LABEL in ((json.loads(said)["Config"] or {}).get("Labels") or {})


# -- the four ----------------------------------------------------------------------------------------------------------


def nats(engine: DockerEngine, name: str, busybox: Path) -> None:
    image = Image(busybox)
    image.copy(binary(), "usr/local/bin/nats-server")
    load(engine, name, image, ['CMD ["nats-server"]', "ENV PATH=/usr/local/bin:/usr/bin"])


def traefik(engine: DockerEngine, name: str, busybox: Path, program: Path) -> None:
    """With the entry point of the one that Traefik's makers publish: flags are Traefik's, words are commands."""
    image = Image(busybox)
    image.copy(program.resolve(), "usr/local/bin/traefik")
    script = b'#!/bin/sh\ncase "$1" in -*) set -- traefik "$@" ;; esac\nexec "$@"\n'
    image.file("entrypoint.sh", script, 0o755)
    changes = ['ENTRYPOINT ["/entrypoint.sh"]', 'CMD ["traefik"]', "ENV PATH=/usr/local/bin:/usr/bin"]
    load(engine, name, image, changes)


POSTGRES_ENTRY = b"""#!/bin/sh
# What the official image does at its start, as far as compose.yaml needs it.
set -eu
if [ "$(id -u)" = 0 ]; then
  mkdir -p "$PGDATA" /var/run/postgresql
  chown 70:70 "$PGDATA" /var/run/postgresql
  chmod 700 "$PGDATA"
  cat "$POSTGRES_PASSWORD_FILE" > /tmp/password
  chown 70:70 /tmp/password
  chmod 600 /tmp/password
  exec /usr/local/bin/setpriv --reuid=70 --regid=70 --clear-groups -- "$0" "$@"
fi
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  initdb -U postgres --pwfile=/tmp/password -E UTF8 --locale=C.UTF-8 --auth-local=trust ${POSTGRES_INITDB_ARGS:-} > /dev/null
  echo "host all all all scram-sha-256" >> "$PGDATA/pg_hba.conf"
  echo "listen_addresses = '*'" >> "$PGDATA/postgresql.conf"
fi
rm -f /tmp/password
exec "$@"
"""


def postgres(engine: DockerEngine, name: str, busybox: Path) -> None:
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin"))[-1]
    version = found.split("/")[-2]
    image = Image(busybox)
    for program in ("postgres", "initdb", "pg_isready", "psql"):
        image.copy(f"{found}/{program}")
        image.link(f"usr/local/bin/{program}", f"{found}/{program}")
    image.copy(shutil.which("setpriv") or "/usr/bin/setpriv", "usr/local/bin/setpriv")
    image.tree(f"/usr/lib/postgresql/{version}/lib", leave_out=("bitcode", "pgxs"))
    image.tree(f"/usr/share/postgresql/{version}", leave_out=("man", "extension"))
    for file in glob.glob(f"/usr/share/postgresql/{version}/extension/plpgsql*"):
        image.copy(file)
    image.tree("/usr/lib/locale/C.utf8")
    image.tree("/usr/share/zoneinfo", leave_out=("right", "posix"))
    image.file("usr/local/bin/docker-entrypoint.sh", POSTGRES_ENTRY, 0o755)
    changes = [
        'ENTRYPOINT ["docker-entrypoint.sh"]', 'CMD ["postgres"]', "VOLUME /var/lib/postgresql/data",
        f"ENV PATH=/usr/local/bin:{found}:/usr/bin PGDATA=/var/lib/postgresql/data LANG=C.UTF-8",
    ]  # fmt: skip
    load(engine, name, image, changes)


def python_base(engine: DockerEngine, name: str, busybox: Path) -> None:
    """Python, pip, git and a shell, and the wheels of our locks."""
    image = Image(busybox)
    image.copy(PYTHON)
    for link in ("python3", "python"):
        image.link(f"usr/bin/{link}", "python3.11")
    image.tree("/usr/lib/python3.11", leave_out=NOT_NEEDED)
    for library in (f"/usr/lib/x86_64-linux-gnu/{each}" for each in LIBRARIES):
        if os.path.exists(library):
            image.copy(library)
    for program in ("setpriv", "nice", "prlimit"):
        image.copy(f"/usr/bin/{program}")
    image.copy("/usr/bin/git")
    for program in ("git-remote-http", "git-remote-https", "git-upload-pack", "git-receive-pack", "git-sh-setup"):
        place = f"/usr/lib/git-core/{program}"
        if os.path.islink(place):
            image.link(place.lstrip("/"), os.readlink(place))
        elif os.path.exists(place):
            image.copy(place)
    image.link("usr/lib/git-core/git", "../../bin/git")
    image.copy("/usr/lib/git-core/git-remote-http")
    image.tree("/usr/share/git-core/templates", leave_out=("hooks",))
    if os.path.exists("/etc/ssl/certs/ca-certificates.crt"):
        image.file("etc/ssl/certs/ca-certificates.crt", Path("/etc/ssl/certs/ca-certificates.crt").read_bytes())
    image.file("etc/uv/uv.toml", b'no-index = true\nfind-links = ["/wheels"]\n')
    wheels = wheelhouse()
    for wheel in sorted(wheels.iterdir()):
        image.file(f"wheels/{wheel.name}", wheel.read_bytes())
    pip = next(path for path in wheels.iterdir() if path.name.startswith("pip-"))
    with zipfile.ZipFile(pip) as archive:
        for entry in archive.infolist():
            if not entry.is_dir():
                image.file(f"usr/lib/python3/dist-packages/{entry.filename}", archive.read(entry))
    image.file("usr/bin/pip", b"#!/usr/bin/python3\nimport sys\nfrom pip._internal.cli.main import main\nsys.exit(main())\n", 0o755)
    changes = [
        "ENV PATH=/usr/local/bin:/usr/bin:/bin LANG=C.UTF-8 PIP_NO_INDEX=1 PIP_FIND_LINKS=/wheels",
        'CMD ["python3"]',
    ]
    load(engine, name, image, changes)


def wheelhouse() -> Path:
    """Every wheel that the images' locks name, downloaded once for these locks (scan engines are left to other tests)."""
    locks = [REPOSITORY / "requirements" / f"{name}.txt" for name in ("all", "build", "bootstrap")]
    mark = hashlib.sha256(b"".join(lock.read_bytes() for lock in locks)).hexdigest()[:12]
    folder = cache() / f"wheels-{mark}"
    if not folder.exists():
        for older in cache().glob("wheels-*"):
            shutil.rmtree(older, ignore_errors=True)
        cache().mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(dir=cache(), prefix=".wheels-"))
        pip = [str(python.uv().parent / "python"), "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        for lock in locks:
            subprocess.run([*pip, "--require-hashes", "-d", str(draft), "-r", str(lock)], check=True)
        subprocess.run([*pip, "--only-binary=:all:", "-d", str(draft), "pip"], check=True)
        draft.rename(folder)
    return folder
