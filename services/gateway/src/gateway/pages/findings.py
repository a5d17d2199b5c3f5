"""Findings of a run: the list by severity and area, and one finding with code and advice."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter
from shared.errors import KiopsError
from starlette.requests import Request
from starlette.responses import Response

from gateway import labels, text
from gateway.contexts.frame import Choice, Counts, Frame, Pager
from gateway.contexts.runs import AreaLine, CodeLine, FindingPage, FindingRow, FindingsPage
from gateway.contexts.service import Header
from gateway.errors import NotFound
from gateway.labels import State
from gateway.pages.door import Number, Pages
from gateway.store import pages_findings as store
from gateway.store import pages_runs

ROWS = 100
_NOVELTY = {
    "new": "New",
    "existing": "Known",
    "reopened": "Reopened",
}
_AREAS = ("secrets", "sast", "sca", "image", "iac", "license", "sbom", "dast")
_READ = {
    "files": "file",
    "commits": "commit",
    "packages": "package",
    "components": "component",
    "layers": "layer",
    "licences": "licence",
    "licenses": "licence",
}


def area_line(scan: Any, base: str) -> AreaLine:
    engines = scan.engines or []
    by = text.listed([f"{e['name'].capitalize()} {e['version']}".strip() for e in engines])
    read = ", ".join(text.count(n, _READ[k]) for k, n in (scan.coverage or {}).items() if k in _READ and n)
    data = [read] if read else []
    if scan.data_date:
        data.append(f"data of {scan.data_date[:10]}")
    proven = scan.state in ("completed", "partial")
    return AreaLine(
        key=scan.area,
        name=labels.AREA_LONG.get(scan.area, scan.area),
        state=labels.of(labels.SCAN, scan.state),
        counts=Counts.of(scan.counts) if proven else None,
        total=scan.findings_total,
        by=by,
        href=f"{base}?{urlencode({'area': scan.area})}",
        data=", ".join(data),
        reason=scan.reason,
        advice=scan.advice,
        code=scan.code,
        sample=scan.sample_data,
    )


def where_of(row: Any) -> str:
    if row.path:
        return f"{row.path}:{row.line}" if row.line else row.path
    return f"{row.package} {row.installed}".strip()


def finding_row(row: Any, base: str) -> FindingRow:
    return FindingRow(
        id=row.finding_id,
        href=f"{base}/{row.finding_id}",
        severity=row.severity if row.severity in (*labels.SEVERITIES, "info") else "info",
        title=row.title,
        rule=row.rule,
        where=where_of(row),
        area=labels.AREA.get(row.area, row.area),
        novelty=_NOVELTY.get(row.novelty, ""),
        fix=row.fix if row.package else "",
    )


def number_of(scans: Iterable[Any]) -> int:
    """How many findings there are to look at. Of licences those that are denied or unknown; the rest is an inventory."""
    return sum(Counts.of(s.counts).total if s.area == "license" else s.findings_total for s in scans)


def summary(total: int, counts: dict[str, int]) -> str:
    if not total:
        return "none in what was read"
    parts = [f"{counts[s]} {s}" for s in (*labels.SEVERITIES, "info") if counts.get(s)]
    return f"{text.count(total, 'finding')}: {', '.join(parts)}"


def routes(pages: Pages) -> APIRouter:
    router = pages.router()

    async def of_run(tx: Any, actor: Any, name: str, number: Number) -> tuple[Any, Header, Any]:
        row, head = await pages.service(tx, actor, name)
        run = await pages_runs.numbered(tx, row.id, number)
        if run is None:
            raise NotFound("run", f"{name} #{number}")
        return row, head, run

    @router.get("/services/{name}/runs/{number}/findings")
    async def findings(request: Request, name: str, number: Number, area: str = "", severity: str = "", page: int = 1) -> Response:
        actor = await pages.actor(request)
        at = min(max(page, 1), 10_000)
        async with pages.read() as tx:
            row, head, run = await of_run(tx, actor, name, number)
            base = f"{head.href}/runs/{number}/findings"
            scans = {s.area: s for s in await store.areas(tx, run.id)}
            areas = tuple(area_line(scans[key], base) for key in _AREAS if key in scans)
            area = area if area in scans else ""
            severity = severity if severity in (*labels.SEVERITIES, "info") else ""
            counts = await store.by_severity(tx, run.id, area)
            rows = await store.page(tx, run.id, area=area, severity=severity, offset=(at - 1) * ROWS, limit=ROWS + 1)
            total = counts.get(severity, 0) if severity else sum(counts.values())

            def address(**more: Any) -> str:
                kept = {k: v for k, v in {"area": area, "severity": severity, **more}.items() if v}
                return f"{base}?{urlencode(kept)}" if kept else base

            shown = rows[:ROWS]
            found = FindingsPage(
                frame=await pages.frame(request, actor, tx, section="services", stream=row.id),
                service=head,
                run_number=number,
                run_href=f"{head.href}/runs/{number}",
                commit=run.commit,
                areas=areas,
                show=(),
                severities=(
                    Choice("All", address(severity=""), not severity, sum(counts.values())),
                    *(
                        Choice(s.capitalize(), address(severity=s), s == severity, counts[s])
                        for s in (*labels.SEVERITIES, "info")
                        if counts.get(s)
                    ),
                ),
                rows=tuple(finding_row(r, base) for r in shown),
                pager=Pager(
                    (at - 1) * ROWS + 1,
                    (at - 1) * ROWS + len(shown),
                    total,
                    "findings",
                    newer=address(page=at - 1 if at > 2 else "") if at > 1 else "",
                    older=address(page=at + 1) if len(rows) > ROWS else "",
                ),
                summary=summary(number_of(scans.values()), await store.by_severity(tx, run.id)),
                licences=0 if area else await store.licences_in_use(tx, run.id),
                chosen=next((a for a in areas if a.key == area), None),
            )
        return pages.show(request, "runs/findings.html", found)

    @router.get("/services/{name}/runs/{number}/findings/{finding}")
    async def one(request: Request, name: str, number: Number, finding: str) -> Response:
        actor = await pages.actor(request)
        async with pages.read() as tx:
            _, head, run = await of_run(tx, actor, name, number)
            row = await store.find(tx, run.id, finding)
            if row is None:
                raise NotFound("finding", finding[:60])
            scan = await store.scan_of(tx, run.id, row.area)
            ids = await store.ids(tx, run.id)
            history = await store.current(tx, run.service_id, finding)
            decisions = await pages_runs.decisions_of(tx, run.id)
            frame = await pages.frame(request, actor, tx, section="services")
        full, note = await _report(pages, scan, finding)
        page = _finding(frame, head, run, row, scan, ids, history, decisions, full, note)
        return pages.show(request, "runs/finding.html", page)

    return router


async def _report(pages: Pages, scan: Any, finding: str) -> tuple[dict[str, Any], str]:
    """The finding as the scanner's report has it, with code and advice; or why it cannot be had."""
    if scan is None or not scan.report:
        return {}, ""
    try:
        report = json.loads(await pages.site.host.objects.get(scan.report))
    except (KiopsError, ValueError):
        return {}, "The code is not kept any more: the report of this scan has expired."
    rows = report.get("findings", report) if isinstance(report, dict) else report
    return next((r for r in rows if isinstance(r, dict) and r.get("id") == finding), {}), ""


def _finding(
    frame: Frame, head: Header, run: Any, row: Any, scan: Any, ids: list[str], history: Any, decisions: Any,
    full: dict[str, Any], note: str,
) -> FindingPage:  # fmt: skip
    base = f"{head.href}/runs/{run.number}"
    at = ids.index(row.finding_id) if row.finding_id in ids else 0
    engines = [(e["name"].capitalize() + (f" {e['version']}" if e.get("version") else "")) for e in (scan.engines or [])]
    engine = full.get("engine", "")
    by = [e for e in engines if engine and e.lower().startswith(engine.lower())] or engines
    gate, gate_text = _gate(decisions, row.finding_id)
    why = [w for w in (full.get("message", ""),) if w and w != row.title]
    fix = [w for w in (full.get("advice", ""),) if w]
    if row.package and row.fix and not fix:
        fix.append(f"Raise {row.package} to {row.fix}.")
    package = (("Name", row.package), ("Installed", row.installed), ("Mended in", row.fix or "no version yet"))
    first = history.first_number if history is not None else row.first_number
    return FindingPage(
        frame=frame,
        service=head,
        run_number=run.number,
        run_href=base,
        list_href=f"{base}/findings",
        id=row.finding_id.removeprefix("v1-"),
        severity=row.severity if row.severity in (*labels.SEVERITIES, "info") else "info",
        title=row.title,
        area=labels.AREA.get(row.area, row.area),
        area_href=f"{base}/findings?{urlencode({'area': row.area})}",
        where=f"{row.path}:{row.line}" if row.path and row.line else row.path,
        commit=row.commit or run.commit,
        code=tuple(
            CodeLine(int(n), str(words), int(n) == row.line or row.line < int(n) <= (full.get("end_line") or 0))
            for n, words in full.get("code", [])
        )
        if row.line
        else (),
        why=tuple(why),
        fix=tuple(fix),
        package=tuple(p for p in package if p[1]) if row.package else (),
        references=references(full),
        rule=row.rule,
        engines=tuple((name, row.rule) for name in by),
        novelty=_NOVELTY.get(row.novelty, ""),
        first_number=first,
        first_at_ms=history.first_at_ms if history is not None else None,
        first_href=f"{head.href}/runs/{first}",
        gate=gate,
        gate_text=gate_text,
        gate_href=f"{base}/gate",
        previous=f"{base}/findings/{ids[at - 1]}" if at > 0 else "",
        next=f"{base}/findings/{ids[at + 1]}" if at + 1 < len(ids) else "",
        total=len(ids),
        sample=bool(scan is not None and scan.sample_data),
        note=note or ("The value itself is never stored." if row.area == "secrets" else ""),
        confidence=f"Confidence {row.confidence}." if row.confidence and row.confidence != "high" else "",
    )


def references(full: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    """Weakness and vulnerability ids with the address of their public page."""
    found = []
    for name in (*full.get("cwe", ()), *full.get("ids", ())):
        number = str(name).removeprefix("CWE-")
        if str(name).startswith("CWE-") and number.isdigit():
            found.append((name, f"https://cwe.mitre.org/data/definitions/{number}.html"))
        elif str(name).startswith("CVE-"):
            found.append((name, f"https://nvd.nist.gov/vuln/detail/{name}"))
        elif str(name).startswith("GHSA-"):
            found.append((name, f"https://github.com/advisories/{name}"))
        else:
            found.append((str(name), ""))
    return tuple(dict.fromkeys(found))[:4]


def _gate(decisions: Any, finding: str) -> tuple[State | None, str]:
    """What the newest verdict says of this finding."""
    for decision in decisions:
        for reason in decision.body.get("reasons", []):
            if reason.get("finding") == finding:
                to = f" On the way to {decision.environment}." if decision.environment else ""
                return labels.of(labels.SAYS, reason["effect"]), f"{reason['rule']}: {text.sentence(reason['text'])}{to}"
    return None, ""
