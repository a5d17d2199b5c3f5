# ruff: noqa: E501  (rows of data read better as one line)
"""The services of Harbour Goods: everything that pages have to show, told as facts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from shared.facts.gate import Reason
from shared.facts.scanner import FindingLine
from shared.facts.webhook import RunSuperseded

from tests.pages.story import AREAS_IMAGE, AREAS_SOURCE, ORG, Run, Service, Story

HOST = "https://gitlab.harbour.example"
PEOPLE = ("Tomas Lind", "Mira Osei", "Jun Park", "Ana Kovač")
MESSAGES = (
    "Paginate orders by cursor",
    "Cache the price list for a minute",
    "Raise the base image",
    "Say why a voucher is refused",
    "Keep the basket for 30 days",
    "Retry a charge once when the ledger is busy",
    "Read timeouts from the environment",
    "Add an index on charge.ref",
)


@dataclass
class Harbour:
    """Where the things of note are."""

    services: dict[str, Service] = field(default_factory=dict)
    live_build: str = ""
    live_service: str = ""
    finding: str = ""
    secret: str = ""


def sql_finding() -> tuple[FindingLine, dict[str, Any]]:
    identity = "v1-" + "2c71" * 8
    line = FindingLine(
        id=identity,
        rule="kiops.python.sql-order-by",
        severity="high",
        title="SQL is built from a request parameter",
        path="src/shop/orders/search.py",
        line=88,
        confidence="medium",
    )
    detail = {
        "id": identity,
        "engine": "semgrep",
        "message": "Whoever can call this route chooses what stands after ORDER BY and can read other columns one bit at a time.",
        "advice": "Take the column from a fixed list; a placeholder cannot stand for a column name.",
        "cwe": ["CWE-89"],
        "end_line": 88,
        "code": [
            [84, "async def search(self, term: str, sort: str) -> list[Order]:"],
            [85, "    # sort comes from the query string"],
            [86, '    columns = "id, placed_at, total"'],
            [87, "    rows = await self.db.fetch("],
            [88, '        f"SELECT {columns} FROM orders WHERE ref LIKE $1 ORDER BY {sort}",'],
            [89, '        f"%{term}%",'],
            [90, "    )"],
            [91, "    return [Order.from_row(row) for row in rows]"],
        ],
    }
    return line, detail


def secret_finding() -> tuple[FindingLine, dict[str, Any]]:
    identity = "v1-" + "b04e" * 8
    line = FindingLine(
        id=identity, rule="object-store-key", severity="critical", title="An object store key", path="deploy/export.env", line=4
    )
    detail = {
        "id": identity,
        "engine": "gitleaks",
        "message": "The key works for whoever can read the repository, in every commit that has it.",
        "advice": "Revoke the key at its provider first. Then take it out of the history; deleting the file in a new commit is not enough.",
        "cwe": ["CWE-798"],
        "code": [[3, "EXPORT_BUCKET=harbour-nightly"], [4, "EXPORT_KEY=********"], [5, "EXPORT_REGION=eu-1"]],
    }
    return line, detail


def packages(critical: int = 0, high: int = 1, medium: int = 3, low: int = 8, fix: bool = True) -> list[FindingLine]:
    names = ("urllib3", "cryptography", "openssl", "libxml2", "jinja2", "setuptools", "zlib", "certifi")
    lines = []
    for severity, number in (("critical", critical), ("high", high), ("medium", medium), ("low", low)):
        for i in range(number):
            name = names[(i + len(severity)) % len(names)]
            lines.append(
                FindingLine(
                    id=f"v1-{len(lines):04d}{severity}{name}",
                    rule=f"CVE-2026-{4000 + len(lines) * 37}",
                    severity=severity,
                    title=f"{name}: input of a certain length is read beyond its end",
                    path="requirements.txt" if i % 2 else "",
                    package=name,
                    installed=f"2.{i}.3",
                    fix=f"2.{i}.9" if fix and i % 3 else "",
                )
            )
    return lines


def build_log(fails: bool = False) -> list[list[Any]]:
    rows: list[list[Any]] = [[0, "clone", 1, "Triggered by webhook: push of 1 commit to main"]]
    rows += [[80, "clone", 1, "$ git fetch --depth 1 origin"], [400, "clone", 1, "23 files at the pushed commit"]]
    rows += [[420, "analyse", 1, "Dockerfile found at ./Dockerfile"], [600, "analyse", 1, "12 steps, base python:3.12-slim"]]
    at = 2200
    for i, words in enumerate(
        (
            "FROM python:3.12-slim", "COPY pyproject.toml uv.lock ./",
            "RUN --mount=type=cache,target=/root/.cache uv sync --frozen --no-dev",
            "COPY src ./src", "RUN python -m compileall -q src",
        ), 1
    ):  # fmt: skip
        rows.append([at, "build", 1, f"#{i + 8} [build {i}/5] {words}"])
        if i < 3:
            rows.append([at + 20, "build", 1, f"#{i + 8} CACHED"])
        if i == 3:
            rows.append([at + 400, "build", 1, "Resolved 143 packages; 12 have a newer dependency outside the range"])
            rows.append([at + 2100, "build", 1, "warning: dependency `tokenise` is taken from the index mirror, attempt 1 of 3"])
            rows += [[at + 2200 + j * 60, "build", 1, f"Downloaded wheel-{j:02d} ({j * 3 + 1}.{j % 10} MiB)"] for j in range(24)]
        if i == 5 and fails:
            rows.append([at + 900, "build", 2, "error: src/refunds/queue.py:41: unexpected indent"])
            rows.append([at + 950, "build", 2, "Traceback (most recent call last):"])
            rows.append([at + 960, "build", 2, '  File "src/refunds/queue.py", line 41'])
            rows.append([at + 990, "build", 2, '#13 ERROR: process "/bin/sh -c python -m compileall -q src" exit code: 1'])
            return rows
        at += 4200
        rows.append([at, "build", 1, f"#{i + 8} DONE {i}.2s"])
    rows += [[at + 100, "build", 1, "#14 exporting to image"], [at + 900, "build", 1, "#14 DONE 0.8s"]]
    return rows


async def good_run(
    story: Story, service: Service, message: str, at: int, *, version: str | None = None, author: str = "Tomas Lind", slow: int = 0,
    high: int = 0, warns: bool = False, log: bool = False, findings: bool = True, trigger: str = "webhook",
) -> Run:  # fmt: skip
    """A push that passes and is deployed everywhere."""
    run = await story.push(service, message, at, version=version, author=author, trigger=trigger)
    sql, detail = sql_finding()
    await story.scan(
        run, AREAS_SOURCE, at + 60, 9_000 + slow // 4,
        findings={"sast": [sql]} if findings else {}, details={"sast": [detail]} if findings else {},
    )  # fmt: skip
    await story.build(
        run,
        slot_ms=300 + slow,
        build_ms=38_000 + slow // 2 + service.number % 5 * 900,
        log=build_log() if log else None,
        waits_for="catalogue-search #65 and shop-web #239 are ahead" if slow > 9000 else "",
    )
    found = {"sca": packages(high=high, medium=2, low=4), "image": packages(high=0, medium=1, low=5)} if findings else {}
    await story.scan(run, AREAS_IMAGE, run.at + 150, 11_000, findings=found)
    at = run.at + 11_400
    for environment, kind in service.environments:
        request = await story.request(run, environment, kind, run.at + 40)
        evidence = {"sca": ("fresh", "warn", "")} if warns else {}
        reasons = [
            Reason(area="sca", rule="sca.medium", effect="warn", text="urllib3 2.0.3 has a High without a fix", finding="")
        ] if warns else []  # fmt: skip
        tail = "passed with 1 warning" if warns else "passed"
        await story.decide(
            run, environment, kind, at, request, "warn" if warns else "pass",
            sentence=f"{service.name} at {run.commit[:7]} may go to {environment}: it {tail}",
            evidence=evidence, reasons=reasons, counts={"sca": {"high": high, "medium": 2, "low": 4}, "sast": {"high": 1}},
        )  # fmt: skip
        await story.deploy(run, environment, kind, request, at + 60)
    await story.finish(run, "success")
    return run


async def shop_api(story: Story, harbour: Harbour) -> None:
    service = await story.service(
        "shop-api", f"{HOST}/harbour/shop.git", story.ago(days=40), description="Orders, baskets and vouchers over HTTP",
        environments=[("production", "production")],
    )  # fmt: skip
    harbour.services["shop-api"] = service
    for i in range(24):
        await story.together(
            good_run(
                story,
                service,
                MESSAGES[i % len(MESSAGES)],
                story.ago(days=30 - i, hours=i % 7),
                author=PEOPLE[i % 4],
                high=i % 3 // 2,
                warns=i % 8 == 6,
                version="2.3.0" if i == 14 else None,
            )
        )
    await story.together(
        good_run(story, service, MESSAGES[0], story.ago(hours=26), version="2.4.0", author="Ana Kovač", trigger="manual")
    )
    superseded = await story.push(service, "Add the nightly export to the object store (wip)", story.ago(minutes=33))
    superseded.at += 18_000
    # A key in the history: blocked.
    blocked = await story.push(service, "Add the nightly export to the object store", story.ago(minutes=31))
    secret, detail = secret_finding()
    sql, sql_detail = sql_finding()
    harbour.secret, harbour.finding = secret.id, sql.id
    await story.tell(
        RunSuperseded(**superseded.fields(), by_run=blocked.id, by_number=blocked.number), superseded.at
    )  # fmt: skip
    await story.scan(
        blocked, AREAS_SOURCE, blocked.at + 60, 9_400, states={"iac": "failed"},
        findings={"secrets": [secret], "sast": [sql]}, details={"secrets": [detail], "sast": [sql_detail]},
    )  # fmt: skip
    await story.build(blocked, log=build_log())
    await story.scan(
        blocked, AREAS_IMAGE, blocked.at + 150, 12_000, states={"license": "no_data"},
        findings={"sca": packages(high=2, medium=11, low=23), "image": packages(high=0, medium=3, low=8)},
    )  # fmt: skip
    request = await story.request(blocked, "production", "production", blocked.at + 30)
    await story.decide(
        blocked, "production", "production", blocked.at + 12_300, request, "block",
        sentence=f"shop-api at {blocked.commit[:7]} may not go to production: a secret is in the history",
        evidence={
            "secrets": ("fresh", "block", ""),
            "sca": ("stale", "warn", "data of 12 Nov, 9 days"),
            "iac": ("failed", "block", "trivy ended with code 137"),
            "license": ("missing", "warn", "no result for this digest"),
        },
        counts={
            "secrets": {"critical": 1}, "sca": {"high": 2, "medium": 11, "low": 23}, "sast": {"high": 1},
            "image": {"medium": 3, "low": 8},
        },
        reasons=[
            Reason(
                area="secrets", rule="secrets.none", effect="block", text="an object store key in deploy/export.env:4",
                finding=secret.id, pass_by="Revoke the key and take it out of the history",
            ),
            Reason(area="sca", rule="sca.age", effect="warn", text="2 days over the limit"),
            Reason(area="iac", rule="iac.run", effect="block", text="it ran out of memory", pass_by="Scan the Dockerfile again"),
            Reason(area="license", rule="license.evidence", effect="warn", text="nothing was reported"),
        ],
        ways=["Revoke the key and take it out of the history", "Scan the Dockerfile again: start the run once more"],
    )  # fmt: skip
    blocked.at += 12_400
    await story.finish(
        blocked,
        "blocked",
        step="gate",
        code="secrets.none",
        reason="A secret is in the history: an object store key in deploy/export.env:4.",
    )
    await story.together(
        good_run(
            story,
            service,
            "Read the export bucket's key from the vault",
            story.ago(minutes=7),
            version="2.5.0",
            slow=15_000,
            log=True,
        )
    )


async def payments(story: Story, harbour: Harbour) -> None:
    service = await story.service(
        "payments", "https://gitea.harbour.example/core/payments.git", story.ago(days=50),
        environments=[("dev", "not_production"), ("staging", "not_production"), ("production", "production")],
    )  # fmt: skip
    harbour.services["payments"] = service
    for i in range(5):
        await story.together(
            good_run(story, service, MESSAGES[(i + 3) % 8], story.ago(days=20 - i * 3), author="Mira Osei", high=1)
        )
    story.rollback = service.release["production"][0]  # type: ignore[attr-defined]
    run = await story.push(
        service, "Read the ledger's address from LEDGER_URL", story.ago(minutes=18), author="Jun Park", version="1.9.0"
    )
    await story.scan(run, AREAS_SOURCE, run.at + 60, 8_000)
    await story.build(run, log=build_log())
    await story.scan(run, AREAS_IMAGE, run.at + 150, 10_000, findings={"sca": packages(high=1, medium=4, low=6)})
    at = run.at + 10_300
    for environment, kind in service.environments:
        request = await story.request(run, environment, kind, at - 300)
        await story.decide(
            run,
            environment,
            kind,
            at,
            request,
            "pass",
            sentence=f"payments at {run.commit[:7]} may go to {environment}: nothing stands against it",
        )
        bad = (
            "container.exited",
            "the container exits after 2 s: LEDGER_URL is not set",
            "Set LEDGER_URL in the environment, or roll back.",
        )
        await story.deploy(
            run, environment, kind, request, at + 60, unhealthy=bad if environment == "production" else None, watch_s=12
        )
        at = run.at - 11_000
    run.at += 13_000
    await story.finish(
        run, "failed", step="operate", code="container.exited", reason="The container exits after 2 s: LEDGER_URL is not set."
    )


async def others(story: Story, harbour: Harbour) -> None:
    web = await story.service("shop-web", f"{HOST}/harbour/shop.git", story.ago(days=35))
    harbour.services["shop-web"] = web
    first = await good_run(story, web, "Show the voucher's end", story.ago(days=4), author="Jun Park")
    back_to = web.release["production"]
    await good_run(story, web, "Lazy-load the gallery", story.ago(hours=5), author="Jun Park")
    from shared.facts.webhook import RunStarted

    web.number += 1
    run = Run(web, "run_back" + "0" * 28, web.number, first.commit, story.ago(hours=3), first.version, False, "rollback")
    await story.tell(
        RunStarted(
            **run.fields(), service_name="shop-web", trigger="rollback", executor="Jun Park", cause="Roll back to release 1",
            commit=run.commit, branch="main", plan=["gate", "deploy", "operate"], environments=["production"], version=run.version,
            release=back_to[0],
        ),
        run.at,
    )  # fmt: skip
    request = await story.request(run, "production", "production", run.at + 30, cause="rollback", back_to=back_to[0])
    await story.decide(
        run,
        "production",
        "production",
        run.at + 60,
        request,
        "pass",
        sentence="shop-web may go back to release 1: it was judged when it was deployed",
    )
    await story.deploy(run, "production", "production", request, run.at + 90, back_to=back_to)
    await story.finish(run, "success")

    search = await story.service("catalogue-search", f"{HOST}/search/catalogue.git", story.ago(days=30))
    harbour.services["catalogue-search"] = search
    for i in range(4):
        await story.together(good_run(story, search, MESSAGES[i], story.ago(days=9 - i * 2), author="Mira Osei"))
    run = await story.push(search, "Raise the ranking model to 4", story.ago(seconds=40), author="Mira Osei")
    await story.scan(run, ("sast",), run.at + 60, 9_000)
    harbour.live_build, harbour.live_service = await story.build(run, stay=True), "catalogue-search"
    story.run_building = run.fields() | {"build": harbour.live_build, "commit": run.commit}  # type: ignore[attr-defined]

    refunds = await story.service("refunds-worker", "https://gitea.harbour.example/core/payments.git", story.ago(days=30))
    harbour.services["refunds-worker"] = refunds
    await good_run(story, refunds, "Take refunds in batches", story.ago(days=3), author="Mira Osei")
    run = await story.push(refunds, "Queue refunds by currency", story.ago(minutes=35), author="Mira Osei")
    await story.scan(run, AREAS_SOURCE, run.at + 60, 7_000)
    await story.build(
        run, build_ms=21_000, log=build_log(fails=True),
        fails=("build", "build.step_failed", "RUN python -m compileall -q src ended with code 1", "The log's last lines say why: src/refunds/queue.py, line 41."),
    )  # fmt: skip
    await story.finish(
        run, "failed", step="build", code="build.step_failed", reason="RUN python -m compileall -q src ended with code 1."
    )

    sample = await story.service("sample-shop", "/home/kiops/.local/share/kiops/demo/shop.git", story.ago(hours=9), sample=True)
    harbour.services["sample-shop"] = sample
    await good_run(story, sample, "Greet the customer", story.ago(hours=8), warns=True)

    notifier = await story.service("notifier", "git@github.example:harbour/notifier.git", story.ago(days=20), branch="release/5")
    harbour.services["notifier"] = notifier
    await good_run(story, notifier, "Send receipts in the customer's language", story.ago(days=6), author="Ana Kovač")
    run = await story.push(notifier, "Send vouchers by e-mail", story.ago(seconds=80), author="Ana Kovač", branch="release/5")
    await story.scan(run, AREAS_SOURCE, run.at + 60, 6_000)
    await story.build(run, build_ms=20_000)
    await story.scan(run, AREAS_IMAGE, run.at + 150, 9_000)
    request = await story.request(run, "production", "production", run.at + 40)
    await story.decide(
        run,
        "production",
        "production",
        run.at + 9_400,
        request,
        "pass",
        sentence=f"notifier at {run.commit[:7]} may go to production: nothing stands against it",
    )
    release = await story.deploy(run, "production", "production", request, run.at + 9_500, stop_at=2)
    story.run_moving = story.release_fields(run, "production", request, release, 2)  # type: ignore[attr-defined]

    harbour.services["ledger"] = await story.service(
        "ledger",
        "https://gitea.harbour.example/core/ledger.git",
        story.ago(minutes=4),
        environments=[("staging", "not_production")],
    )


async def archive(story: Story, harbour: Harbour, runs: int = 1000, findings: int = 1000) -> None:
    """A service with a long history: 1,000 runs, 1,000 findings in the last of them."""
    service = await story.service("archive-worker", f"{HOST}/harbour/archive.git", story.ago(days=400))
    harbour.services["archive-worker"] = service

    async def many(first: int, last: int) -> None:
        for i in range(first, last):
            at = story.ago(hours=(runs - i) * 8)
            run = await story.push(
                service, MESSAGES[i % 8], at, author=PEOPLE[i % 4], environments=[], branch=f"b-{i % 7}" if i % 3 else "main"
            )
            await story.build(run, build_ms=9_000)
            await story.decide(run, "", "not_production", run.at + 10, None, "pass", sentence="passed")
            await story.finish(run, "success")

    for first in range(0, runs, 250):
        await story.together(many(first, min(runs, first + 250)))
    run = await story.push(service, "Archive by year", story.ago(hours=2), environments=[])
    await story.build(run, build_ms=9_000)
    of = -(-findings // 5)
    spread = {area: [line.model_copy(update={"id": f"{line.id}-{area}-{i}"}) for i, line in enumerate(packages(2, of // 4, of // 4, of // 2) * 2)][:of]
              for area in ("sca", "image", "sast", "iac", "secrets")}  # fmt: skip
    await story.together(story.scan(run, tuple(spread), run.at + 100, 8_000, findings=spread))
    await story.finish(run, "failed", step="gate", code="gate.unreachable", reason="The policy could not be evaluated.")


async def tell(story: Story, *, long: bool = False) -> Harbour:
    harbour = Harbour()
    await story.runtime(story.ago(days=60))
    if long:
        await archive(story, harbour)
    await shop_api(story, harbour)
    await payments(story, harbour)
    await others(story, harbour)
    return harbour


__all__ = ["ORG", "Harbour", "tell"]
