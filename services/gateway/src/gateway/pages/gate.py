"""The verdict on a run."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from gateway import labels, text
from gateway.contexts.frame import Choice, Counts
from gateway.contexts.runs import Before, GateArea, GatePage, Way
from gateway.errors import NotFound
from gateway.labels import State
from gateway.pages.door import Number, Pages
from gateway.store import pages_runs as store
from gateway.store import pages_services

_ORDER = {"block": 0, "warn": 1}
_SHAPES = {"pass": "ok", "warn": "warn", "block": "bad"}


def explained(body: dict[str, Any], serving: str) -> str:
    """How many areas say what, and what it means for what serves."""
    by: dict[str, list[str]] = {"block": [], "warn": [], "pass": []}
    for area in body.get("areas", []):
        by.setdefault(area["verdict"], []).append(labels.AREA.get(area["area"], area["area"]))
    parts = []
    if by["block"]:
        parts.append(f"{text.listed(by['block'])} {'blocks' if len(by['block']) == 1 else 'block'}.")
    if by["warn"]:
        tail = "; none of them can change the verdict" if by["block"] else ""
        plural = len(by["warn"]) > 1
        tail = tail.replace("none of them", "it") if not plural and tail else tail
        tail = tail.replace("it can change", "it cannot change")
        parts.append(f"{text.listed(by['warn'])} {'warn' if plural else 'warns'}{tail}.")
    if not by["block"] and not by["warn"]:
        parts.append("Every area passes.")
    if body.get("verdict") == "block" and serving:
        parts.append(f"{serving} keeps serving.")
    return " ".join(parts)


def ways(body: dict[str, Any], findings_href: str) -> tuple[Way, ...]:
    """The ways to pass; a way about a finding leads to it, one about an area to what was read of it."""
    blocking = [r for r in body.get("reasons", []) if r.get("effect") == "block"]
    made = []
    every = body.get("ways", [])
    for i, words in enumerate(every):
        if i and words.startswith(f"{every[0]}; "):
            # The same and more: it would clear the warnings too.
            made.append(Way("Clear the warnings as well", text.sentence(words.removeprefix(f"{every[0]}; ")), "", ""))
            continue
        title, _, rest = words.partition(": ")
        reason = next((r for r in blocking if r.get("pass_by") and r["pass_by"] in words), None)
        reason = reason or (blocking[i] if i < len(blocking) and len(blocking) == len(every) else None)
        label = href = ""
        if reason is not None and reason.get("finding"):
            label, href = "Open the finding", f"{findings_href}/{reason['finding']}"
        elif reason is not None:
            label, href = "See what was read", f"{findings_href}?{urlencode({'area': reason['area']})}"
        detail = reason["text"] if reason is not None and reason["text"] not in words else ""
        made.append(Way(text.sentence(title).rstrip("."), " ".join(text.sentence(w) for w in (rest, detail) if w), label, href))
    return tuple(made)


def area(given: dict[str, Any], reasons: list[dict[str, Any]], findings_href: str) -> GateArea:
    """A row of the table."""
    evidence = labels.of(labels.EVIDENCE, given["evidence"])
    of_area = [r for r in reasons if r["area"] == given["area"]]
    verdict = given["verdict"]
    if given["evidence"] == "not_applicable":
        says = State("na", "Does not count")
    else:
        says = labels.of(labels.SAYS, verdict)
    worst = sorted(of_area, key=lambda r: _ORDER.get(r["effect"], 2))
    words, own = given.get("text", ""), ""
    told = any(words in (r["text"], f"{r['rule']}: {r['text']}") for r in of_area)
    if verdict in _ORDER:
        more = f"; and {len(worst) - 1} more" if len(worst) > 1 else ""
        says = says.because(f"{worst[0]['rule']}: {worst[0]['text']}{more}" if worst else words)
        own = words if worst and not told else ""
    elif given["evidence"] != "fresh":
        own = words
    dated = f"data of {given['data_date'][:10]}" if given.get("data_date") else ""
    why = ", ".join(w for w in (own, dated) if w)
    counts = given.get("counts") or {}
    known = given["evidence"] in ("fresh", "stale", "partial")
    severities = {k: v for k, v in counts.items() if k in labels.SEVERITIES}
    return GateArea(
        name=labels.AREA.get(given["area"], given["area"]),
        evidence=evidence.because(why),
        asked=given.get("threshold", ""),
        counts=Counts.of(severities) if known and (severities or given["area"] not in ("sbom", "license")) else None,
        found="" if known or given["evidence"] == "not_applicable" else "not known",
        found_href=f"{findings_href}?{urlencode({'area': given['area']})}" if known else "",
        says=says,
        sample=bool(given.get("sample_data")),
    )


def routes(pages: Pages) -> APIRouter:
    router = pages.router()

    @router.get("/services/{name}/runs/{number}/gate")
    async def gate(request: Request, name: str, number: Number, environment: str = "") -> Response:
        actor = await pages.actor(request)
        async with pages.read() as tx:
            row, head = await pages.service(tx, actor, name)
            run = await store.numbered(tx, row.id, number)
            if run is None:
                raise NotFound("run", f"{name} #{number}")
            decisions = await store.decisions_of(tx, run.id)
            frame = await pages.frame(request, actor, tx, section="services", stream=row.id)
            chosen = next((d for d in decisions if d.environment == environment), None) or next(iter(decisions), None)
            href = f"{head.href}/runs/{number}"
            if chosen is None:
                page = _waiting(frame, head, run, href)
            else:
                before = await store.decisions_before(tx, chosen)
                environments = await pages_services.environments_of(tx, [row.id])
                page = _page(frame, head, run, href, chosen, decisions, before, environments)
        return pages.show(request, "runs/gate.html", page)

    return router


def _page(frame: Any, head: Any, run: Any, href: str, chosen: Any, decisions: Any, before: Any, environments: Any) -> GatePage:
    body = chosen.body
    findings = f"{href}/findings"
    at = next((e for e in environments if e.name == chosen.environment), None)
    serving = ""
    if at is not None and at.release_id and at.run_number != run.number:
        serving = at.version or f"Release {at.release_number}"
    areas = sorted(
        (area(a, body.get("reasons", []), findings) for a in body.get("areas", [])),
        key=lambda a: {"bad": 0, "warn": 1, "ok": 2}.get(a.says.shape, 3),
    )
    named = list(dict.fromkeys(d.environment for d in decisions if d.environment))
    digest = body.get("digest") or chosen.image_id
    return GatePage(
        frame=frame,
        service=head,
        run_number=run.number,
        run_href=href,
        state=State(_SHAPES.get(chosen.verdict, "unknown"), labels.of(labels.VERDICT, chosen.verdict).word),
        sentence=text.stopped(chosen.sentence) or f"{head.name}: {labels.of(labels.VERDICT, chosen.verdict).word}.",
        explained=explained(body, serving),
        ways=ways(body, findings) if chosen.verdict == "block" else (),
        areas=tuple(areas),
        environment=chosen.environment,
        environment_kind=_kind(chosen),
        others=tuple(Choice(e, f"{href}/gate?{urlencode({'environment': e})}", e == chosen.environment) for e in named),
        digest=digest or "",
        digest_short=text.short_digest(digest or ""),
        commit=chosen.commit or run.commit,
        decided_at_ms=chosen.decided_at_ms,
        took=text.took(chosen.duration_ms) if chosen.duration_ms is not None else "",
        policy=body.get("policy") or "default",
        policy_hash=(body.get("policy_hash") or "").removeprefix("sha256:"),
        input_hash=(body.get("input_hash") or "").removeprefix("sha256:"),
        engine=body.get("engine", ""),
        before=tuple(
            Before(
                b.number,
                f"{head.href}/runs/{b.number}/gate",
                b.version or text.short(b.commit),
                labels.of(labels.VERDICT, b.verdict),
                b.decided_at_ms,
            )
            for b in before
        ),
    )


def _kind(chosen: Any) -> str:
    kind = labels.ENVIRONMENT_KIND.get(chosen.environment_kind, chosen.environment_kind)
    return "" if kind == chosen.environment else kind


def _waiting(frame: Any, head: Any, run: Any, href: str) -> GatePage:
    """No verdict yet, or never: what it waits for."""
    open_run = run.finished_at_ms is None
    words = (
        "The gate decides when every area that its policy asks for has reported, or after 10 minutes. "
        "The verdict shows here by itself."
        if open_run
        else f"The run ended before the gate was asked: {labels.run_state(run).word.lower()}."
    )
    state = State("wait", "Waiting") if open_run else State("missing", "Not reached")
    sentence = f"{head.name} #{run.number} has no verdict{' yet' if open_run else ''}."
    empty: dict[str, Any] = dict.fromkeys(
        ("environment", "environment_kind", "digest", "digest_short", "took", "policy", "policy_hash", "input_hash"), ""
    )
    return GatePage(
        frame, head, run.number, href, state, sentence, "", (), (), others=(), commit=run.commit, decided_at_ms=None,
        engine="", before=(), waiting=words, **empty,
    )  # fmt: skip
