"""What a person asks about a repository before anything runs: can it be read, which commit is meant."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from shared.database import Database
from shared.errors import Rejected
from shared.git import Credential, read_credential

from webhook import store
from webhook.clients.git import Refs
from webhook.domain.rules import COMMIT
from webhook.sealed import Secrets

Lease = Callable[[str, str, str], Awaitable[str]]
"""(organisation, service, credential) -> the credential sealed to this service's key."""


class ReadsRefs(Protocol):
    """What asks a repository; `webhook.clients.git.Git` in earnest."""

    async def list_refs(self, repository_url: str, credential: Credential | None = None) -> Refs: ...


@dataclass(frozen=True)
class Named:
    """A commit and the branch or tag by which it was named."""

    commit: str
    branch: str = ""
    tag: str = ""


class Sources:
    """Questions to repositories."""

    def __init__(self, database: Database, git: ReadsRefs, keys: Secrets, lease: Lease) -> None:
        self._database, self._git, self._keys, self._lease = database, git, keys, lease

    async def test(
        self, organisation: str, service: str, repository_url: str, *, credential: str | None, sealed: str | None
    ) -> Refs:
        """Branches, tags and default branch. Raises Rejected and Unavailable with `source.*` codes."""
        return await self._git.list_refs(repository_url, await self._opened(organisation, service, credential, sealed))

    async def resolve(self, organisation: str, service_id: str, name: str) -> Named:
        """The commit that a branch, tag, full ref or commit stands for. A short commit only when a ref points to it."""
        async with self._database.read() as tx:
            service = await store.service(tx, organisation, service_id)
        if service is None:
            raise Rejected("service.unknown", "there is no such service", "It may have been deleted.", status=404)
        opened = await self._opened(organisation, service_id, service.credential, None)
        return named(await self._git.list_refs(service.repository_url, opened), name.strip() or service.branch)

    async def _opened(self, organisation: str, service: str, credential: str | None, sealed: str | None) -> Credential | None:
        if sealed is None and credential:
            sealed = await self._lease(organisation, service, credential)
        return read_credential(self._keys.unseal(sealed)) if sealed else None

    async def endpoint_secret(self, organisation: str, endpoint_id: str) -> tuple[store.Endpoint, str]:
        """An endpoint with its secret. Raises Rejected `webhook.endpoint_unknown`."""
        async with self._database.read() as tx:
            found = await store.endpoint(tx, endpoint_id)
        if found is None or found.service.organisation != organisation:
            raise Rejected("webhook.endpoint_unknown", "there is no such endpoint", "Reload the page.", status=404)
        return found, self._keys.open(found.sealed_secret).decode()


def named(refs: Refs, name: str) -> Named:
    """What a name stands for. Raises Rejected `source.name_unknown`, `source.name_ambiguous`."""
    branch, tag = name.removeprefix("refs/heads/"), name.removeprefix("refs/tags/")
    if branch in refs.branches:
        return Named(refs.branches[branch], branch=branch)
    if tag in refs.tags:
        return Named(refs.tags[tag], tag=tag)
    wanted = name.lower()
    if COMMIT.match(wanted):
        return Named(wanted)
    if len(wanted) >= 7 and not set(wanted) - set("0123456789abcdef"):
        commits = {commit for commit in (*refs.branches.values(), *refs.tags.values()) if commit.startswith(wanted)}
        if len(commits) == 1:
            return Named(commits.pop())
        if commits:
            raise Rejected("source.name_ambiguous", f"{name} begins {len(commits)} commits", "Give more of its digits.", status=422)
    raise Rejected(
        "source.name_unknown",
        f"the repository shows no branch, tag or commit {name[:100]}",
        "Give a branch or tag that is there, or a whole commit (40 or 64 digits).",
        status=404,
    )
