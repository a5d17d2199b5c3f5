"""The life of findings, on SQLite and on PostgreSQL."""

from __future__ import annotations

from typing import Any

import pytest
from scanner import tables
from scanner.domain.evidence import AreaScan, failed
from shared.facts.gateway import ServiceDeleted
from shared.facts.scanner import ScanFailed, ScanFinished
from shared.words import Area, ScanState

from services.scanner.tests.serving import SHOP, Slow, done, finding, push


@pytest.mark.slow
async def test_findings_have_a_life(scanning: Any) -> None:
    one, two = finding("one"), finding("two")
    slow = Slow()
    async with scanning(git=slow, engines=slow) as scanner:

        async def scan(number: int, area: AreaScan, branch: str = "main") -> dict[str, str]:
            slow.areas = [area, done(Area.SAST), done(Area.IAC)]
            before = len(await scanner.told(ScanFinished, ScanFailed))
            await scanner.hear(push("/x", "1" * 40, number=number, branch=branch))
            await scanner.until(lambda found: len(found) == before + 3, ScanFinished, ScanFailed, seconds=20)
            rows = await scanner.rows(tables.findings)
            return {row["rule"]: row["state"] for row in rows if row["branch"] == branch}

        assert await scan(1, done(Area.SECRETS, one, two)) == {"one": "new", "two": "new"}
        assert await scan(2, done(Area.SECRETS, one, two)) == {"one": "existing", "two": "existing"}
        partial = AreaScan(Area.SECRETS, ScanState.PARTIAL, "something was not read", coverage={}, findings=(one,))
        assert await scan(3, partial) == {"one": "existing", "two": "existing"}, "a partial scan resolves nothing"
        assert await scan(4, failed(Area.SECRETS, "engine.failed", "x")) == {"one": "existing", "two": "existing"}
        assert await scan(5, done(Area.SECRETS), branch="other") == {}
        assert await scan(6, done(Area.SECRETS, one)) == {"one": "existing", "two": "fixed"}
        assert await scan(5, done(Area.SECRETS, two)) == {"one": "existing", "two": "fixed"}, "an older run comes too late"
        assert await scan(7, done(Area.SECRETS, one, two)) == {"one": "existing", "two": "reopened"}
        rows = {row["rule"]: row for row in await scanner.rows(tables.findings)}
        assert (rows["one"]["first_seen_number"], rows["one"]["last_seen_number"], rows["two"]["reopened"]) == (1, 7, 1)

        await scanner.hear(ServiceDeleted(organisation="main", service=SHOP))
        assert await scanner.rows(tables.findings) == []
