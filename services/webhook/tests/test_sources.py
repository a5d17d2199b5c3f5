"""Questions to a repository, asked through the service's own door."""

from __future__ import annotations

import json

import pytest
from shared.errors import Broken, Rejected
from shared.git import Credential
from shared.queries.webhook import ResolveSource, TestSource
from shared.sealing import KeyPair, seal
from webhook.clients.git import Refs

from .conftest import FIRST, SECOND, SHOP, THIRD, Wired


class Shelf:
    """A reader of repositories that shows what it was given, and remembers how it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Credential | None]] = []
        self.refs = Refs({"main": FIRST, "v1": SECOND, "release/1": THIRD}, {"v1": FIRST, "v2": "3" * 10 + "4" * 30}, "main")

    async def list_refs(self, repository_url: str, credential: Credential | None = None) -> Refs:
        self.asked.append((repository_url, credential))
        return self.refs


async def test_a_repository_is_tested_with_a_credential_that_is_not_stored_yet(wired: Wired) -> None:
    shelf = Shelf()
    async with wired(git=shelf) as props:
        sealed = seal(json.dumps({"username": "ada", "password": "open sesame"}), props.host.keys.public)
        query = TestSource(organisation="main", repository_url="https://host/x.git", sealed=sealed)
        found = await props.ask(query)
        assert [branch.name for branch in found.branches] == ["main", "release/1", "v1"]
        assert [tag.name for tag in found.tags] == ["v1", "v2"]
        assert found.default_branch == "main"
        assert shelf.asked == [("https://host/x.git", Credential("ada", "open sesame"))]


async def test_a_credential_sealed_to_another_key_is_not_opened(wired: Wired, tmp_path: object) -> None:
    from pathlib import Path

    assert isinstance(tmp_path, Path)
    async with wired(git=Shelf()) as props:
        other = KeyPair.load(tmp_path / "other.key")
        with pytest.raises(Broken):
            await props.ask(TestSource(organisation="main", repository_url="https://h/x", sealed=seal("t", other.public)))


@pytest.mark.parametrize(
    ("name", "commit", "branch", "tag"),
    [
        ("main", FIRST, "main", ""),
        ("", FIRST, "main", ""),
        ("refs/heads/release/1", THIRD, "release/1", ""),
        ("v1", SECOND, "v1", ""),
        ("refs/tags/v1", FIRST, "", "v1"),
        ("v2", "3" * 10 + "4" * 30, "", "v2"),
        ("2222222", SECOND, "", ""),
        ("A" * 40, "a" * 40, "", ""),
    ],
)
async def test_a_name_stands_for_a_commit(wired: Wired, name: str, commit: str, branch: str, tag: str) -> None:
    async with wired(git=Shelf()) as props:
        await props.register()
        found = await props.ask(ResolveSource(organisation="main", service=SHOP, name_=name))
        assert (found.commit, found.branch, found.tag) == (commit, branch, tag)


@pytest.mark.parametrize(
    ("name", "code"),
    [("nothing", "source.name_unknown"), ("3333333", "source.name_ambiguous"), ("9999999", "source.name_unknown")],
)
async def test_a_name_that_stands_for_none_is_told(wired: Wired, name: str, code: str) -> None:
    async with wired(git=Shelf()) as props:
        await props.register()
        with pytest.raises(Rejected) as caught:
            await props.ask(ResolveSource(organisation="main", service=SHOP, name_=name))
        assert caught.value.code == code


async def test_an_unknown_service_has_no_source(wired: Wired) -> None:
    async with wired(git=Shelf()) as props:
        with pytest.raises(Rejected) as caught:
            await props.ask(ResolveSource(organisation="main", service=SHOP, name_="main"))
        assert caught.value.code == "service.unknown"
