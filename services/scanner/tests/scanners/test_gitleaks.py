"""Gitleaks on real histories: what it must find, what may not switch it off, and when it may not be believed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from scanner.clients.git import Git, Source
from scanner.domain.evidence import AreaScan
from scanner.errors import EngineMissing, EngineRefused
from scanner.scanners import gitleaks as engine
from scanner.scanners.program import Program
from shared.git import Options
from shared.processes import ChildTimeout
from shared.words import ScanState, Severity

Search = Callable[..., Any]


@pytest.fixture
def search(tmp_path: Path, job: Any, gitleaks: Program, props: Any) -> Search:
    """Fetch a commit of a repository and search it."""

    async def run(repository: Any, commit: str, *, program: Program | None = None) -> tuple[AreaScan, tuple[str, ...]]:
        folder = job.folder / f"source-{commit[:8]}"
        source: Source = await Git(Options(roots=[tmp_path])).fetch(str(repository.folder), commit, folder, job=job)
        return await engine.scan(
            program or gitleaks,
            source.repository,
            commit,
            key=props.KEY,
            commits=source.commits,
            shallow=source.shallow,
            job=job,
            home=_made(job.folder / "home"),
        )

    return run


def _made(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder


@pytest.mark.slow
async def test_a_secret_of_the_past_is_found_with_commit_file_and_line(repository: Any, search: Search, props: Any) -> None:
    repository.commit({"app.py": "print('hello')\n"}, "Begin")
    key = props.aws_key()
    brought_in = repository.commit({"prices.py": f"import os\n\n# the bucket\nKEY = '{key}'\n"}, "Read the price list")
    tip = repository.commit({"prices.py": None}, "Take it away")

    area, values = await search(repository, tip)

    assert (area.state, area.reason) == (ScanState.COMPLETED, "")
    (finding,) = area.findings
    assert (finding.commit, finding.path, finding.line) == (brought_in, "prices.py", 4)
    assert finding.severity == Severity.CRITICAL and finding.cwe == ("CWE-798",) and "Revoke" in finding.advice
    assert values == (key,)
    assert key not in repr(area) and finding.preview == "AKIA…"
    assert area.coverage == {"commits": 3, "commits_with_additions": 2}
    (run,) = area.engines
    assert run.version == "8.30.1" and run.exit_code == engine.LEAKS and len(run.sha256) == 64


@pytest.mark.slow
async def test_a_clean_history_is_clean_with_proof(repository: Any, search: Search) -> None:
    area, _ = await search(repository, repository.commit({"app.py": "print('hello')\n"}))
    assert area.state == ScanState.COMPLETED and area.findings == () and area.engines[0].exit_code == 0


async def test_commits_that_are_not_reachable_are_not_looked_at(repository: Any, search: Search, props: Any) -> None:
    begin = repository.commit({"app.py": "print('hello')\n"})
    repository.git("checkout", "--quiet", "-b", "other")
    repository.commit({"key.py": f"KEY = '{props.aws_key()}'\n"})
    repository.git("checkout", "--quiet", "main")
    tip = repository.commit({"b.py": "b = 2\n"})
    area, _ = await search(repository, tip)
    assert area.findings == () and area.coverage["commits"] == 2 and begin != tip


@pytest.mark.parametrize(
    "files",
    [
        {".gitattributes": "*.py -diff binary\n"},
        {".gitleaksignore": "key.py:aws-access-token:1\n"},
        {".gitleaks.toml": "title = 'none'\n[allowlist]\npaths = ['''.*''']\n"},
    ],
    ids=lambda files: next(iter(files)),
)
async def test_nothing_in_the_repository_switches_the_search_off(
    files: dict[str, str], repository: Any, search: Search, props: Any
) -> None:
    tip = repository.commit(files | {"key.py": f"KEY = '{props.aws_key()}'  # gitleaks:allow\n"})
    area, _ = await search(repository, tip)
    assert [finding.path for finding in area.findings] == ["key.py"]


async def test_what_only_a_merge_brings_in_is_found(repository: Any, search: Search, props: Any) -> None:
    repository.commit({"app.py": "a = 1\n"})
    repository.git("checkout", "--quiet", "-b", "side")
    repository.commit({"side.py": "b = 2\n"})
    repository.git("checkout", "--quiet", "main")
    repository.commit({"main.py": "c = 3\n"})
    repository.git("merge", "--no-commit", "--no-ff", "--quiet", "side")
    tip = repository.commit({"sneaked.py": f"KEY = '{props.aws_key()}'\n"}, "Merge")
    area, _ = await search(repository, tip)
    assert [finding.path for finding in area.findings] == ["sneaked.py"]


@pytest.mark.slow
async def test_identity_survives_moves_and_new_commits_and_tells_secrets_apart(repository: Any, search: Search, props: Any) -> None:
    first, _ = await search(repository, repository.commit({"key.py": f"KEY = '{props.aws_key()}'\n"}))
    moved, _ = await search(repository, repository.commit({"key.py": f"\n\n# moved\nKEY = '{props.aws_key()}'\n"}))
    other, _ = await search(repository, repository.commit({"key.py": f"KEY = '{props.aws_key('two')}'\n"}))
    assert {f.id for f in first.findings} == {f.id for f in moved.findings}
    assert len(other.findings) == 2 and {f.id for f in first.findings} < {f.id for f in other.findings}


async def test_a_password_in_an_address_is_found(repository: Any, search: Search) -> None:
    password = "x".join(["9tR4", "Lq7v", "Zw2k"])
    tip = repository.commit({"settings.py": f"URL = 'postgresql://shop:{password}@db.internal/shop'\n"})
    area, values = await search(repository, tip)
    assert password in values and len(area.findings) >= 1 and password not in repr(area)


async def test_a_folder_that_is_no_repository_fails_although_gitleaks_ends_with_0(
    gitleaks: Program, job: Any, props: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    area, _ = await engine.scan(
        gitleaks, folder, "1" * 40, key=props.KEY, commits=1, shallow=False, job=job, home=_made(job.folder / "home")
    )
    assert area.state == ScanState.FAILED and area.code == "engine.failed"
    assert area.engines[0].exit_code == 0, "the trap is still there: the guard is what fails it"


async def test_a_shallow_history_is_only_partly_read(
    repository: Any, gitleaks: Program, job: Any, props: Any, tmp_path: Path
) -> None:
    repository.commit({"a.py": "a = 1\n"})
    tip = repository.commit({"b.py": "b = 1\n"})
    shallow = tmp_path / "shallow"
    repository.git("clone", "--quiet", "--bare", "--depth=1", f"file://{repository.folder}", str(shallow))
    source = await Git(Options(roots=[tmp_path])).fetch(str(shallow), tip, job.folder / "source", job=job)
    area, _ = await engine.scan(
        gitleaks, source.repository, tip, key=props.KEY, commits=source.commits, shallow=source.shallow, job=job,
        home=_made(job.folder / "home"),
    )  # fmt: skip
    assert area.state == ScanState.PARTIAL and "shallow" in area.reason


@pytest.mark.parametrize(
    ("script", "code", "words"),
    [
        ("echo '{'; echo '1 commits scanned.' >&2; exit 0", "engine.output", "could not be read"),
        ("echo 'segmentation fault' >&2; exit 139", "engine.failed", "139"),
        ("echo '[]'; echo '1 commits scanned.' >&2; exit 9", "engine.failed", "contradict"),
        ("echo '[]'; echo '0 commits scanned.' >&2; exit 0", "engine.read_nothing", "read nothing"),
        ("echo '[]'; exit 0", "engine.read_nothing", "read nothing"),
    ],
)
async def test_an_engine_is_not_believed_without_proof(
    script: str, code: str, words: str, repository: Any, search: Search, stand_in: Any
) -> None:
    tip = repository.commit({"a.py": "a = 1\n"})
    area, _ = await search(repository, tip, program=stand_in("gitleaks", script))
    assert (area.state, area.code) == (ScanState.FAILED, code)
    assert words in area.reason and area.findings == ()


@pytest.mark.slow
async def test_an_engine_that_hangs_is_stopped(repository: Any, search: Search, stand_in: Any) -> None:
    tip = repository.commit({"a.py": "a = 1\n"})
    with pytest.raises(ChildTimeout):
        await search(repository, tip, program=stand_in("gitleaks", "sleep 60", seconds=1))


async def test_a_missing_engine_says_where_it_was_looked_for(repository: Any, search: Search, tmp_path: Path) -> None:
    tip = repository.commit({"a.py": "a = 1\n"})
    with pytest.raises(EngineMissing) as raised:
        await search(repository, tip, program=Program("gitleaks", tmp_path / "nowhere"))
    assert raised.value.code == "engine.missing" and "SCANNER_GITLEAKS" in raised.value.advice


async def test_a_program_that_may_not_be_trusted_is_not_run(stand_in: Any, job: Any) -> None:
    with pytest.raises(EngineRefused):
        await stand_in("trivy", "exit 0", version="0.69.5").known(job, job.folder)
    program = Program("gitleaks", stand_in("gitleaks", "exit 0").path, sha256="0" * 64)
    with pytest.raises(EngineRefused):
        await program.known(job, job.folder)
