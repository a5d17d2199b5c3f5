"""A service seals again, with its newest key, what was sealed to one that it had before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from shared.errors import Broken
from shared.queries.every import SealingRenewed
from shared.queries.gateway import RECIPIENTS, ListSealed, ReplaceSealed
from shared.sealing import KeyPair, key_id, seal

if TYPE_CHECKING:
    from shared.hosting import Host, Running


@dataclass
class Renewal:
    """How many values were sealed again, are still sealed to a former key, and cannot be opened by any key that is here."""

    renewed: int = 0
    left: int = 0
    unreadable: int = 0

    def __iadd__(self, other: Renewal) -> Renewal:
        self.renewed += other.renewed
        self.left += other.left
        self.unreadable += other.unreadable
        return self


def again(keys: KeyPair, sealed: str) -> tuple[str, str] | None:
    """The value sealed to the newest key, and that key's id; None when no key opens it."""
    try:
        value = keys.open(sealed)
    except Broken:
        return None
    public = keys.public
    return seal(value, public), key_id(public)


async def renew(running: Running) -> SealingRenewed:
    """All that this service has sealed, with the gateway and in its own tables. Harmless to do again."""
    host, total = running.host, Renewal()
    if host.name in RECIPIENTS:
        total += await _credentials(host)
    if running.service.reseal is not None:
        total += await running.service.reseal()
    return SealingRenewed(key=host.keys.id, former=list(host.keys.former), **vars(total))


async def _credentials(host: Host) -> Renewal:
    """Those of people, which the gateway keeps and cannot open."""
    done, after, organisation = Renewal(), "", host.settings.organisation
    while True:
        asked = ListSealed(organisation=organisation, asker=host.name, key=host.keys.id, after=after)
        found = await host.bus.ask(asked, timeout_seconds=10)
        for row in found.rows:
            after = row.credential
            fresh = again(host.keys, row.sealed)
            if fresh is None:
                done.unreadable += 1
                continue
            replace = ReplaceSealed(
                organisation=organisation,
                asker=host.name,
                credential=row.credential,
                before=row.sealed,
                sealed=fresh[0],
                key=fresh[1],
            )
            if (await host.bus.ask(replace, timeout_seconds=10)).done:
                done.renewed += 1
        if not found.rows:
            break
    left = await host.bus.ask(ListSealed(organisation=organisation, asker=host.name, key=host.keys.id, limit=1), timeout_seconds=10)
    done.left = max(0, left.total - done.unreadable)
    return done
