"""What the API says of a step, in a sentence. Pure; every number in it comes from the API."""

from __future__ import annotations

from typing import Any

from kiops.demo.telling import count

SEVERITIES = ("critical", "high", "medium", "low")
ORDER = {
    "sast": ("sast", "secrets", "iac"),
    "sca": ("sbom", "sca", "license", "image"),
}
READ = {
    "files": "file",
    "commits": "commit",
    "components": "component",
    "packages": "package",
    "layers": "layer",
    "licences": "licence",
    "dockerfiles": "Dockerfile",
}


def build(row: dict[str, Any]) -> str:
    """`7 steps, 2 from cache, 58 MB`."""
    parts = [count(row["steps"], "step")] if row["steps"] else []
    if row["steps_cached"]:
        parts.append(f"{row['steps_cached']} from cache")
    if row["size_bytes"]:
        parts.append(f"{row['size_bytes'] / 1_000_000:.0f} MB")
    return ", ".join(parts)


def scans(step: str, rows: list[dict[str, Any]]) -> str:
    """`semgrep 41 rules on 3 files, gitleaks 1 commit: clean`; of an image `63 components; sample data of ...: 1 medium`."""
    areas = {row["area"]: row for row in rows}
    kept = [areas[area] for area in ORDER[step] if area in areas]
    if not kept:
        return ""
    troubles = [
        f"{row['area']} {row['state'].replace('_', ' ')}" for row in kept if row["state"] in ("failed", "partial", "no_data")
    ]
    if step == "sca":
        return "; ".join([*_components(areas), *troubles, *_judged(areas)])
    read = ", ".join(filter(None, (_engine(row) for row in kept)))
    return "; ".join([f"{read}: {_found(kept)}", *troubles])


def _engine(row: dict[str, Any]) -> str:
    engine = (row["engines"] or [{}])[0]
    if not engine or row["state"] == "not_applicable":
        return ""
    rules = f" {count(engine['rules'], 'rule')}" if engine.get("rules") else ""
    read = _coverage(row["coverage"])
    return f"{engine['name']}{rules}{' on ' if rules and read else ' ' if read else ''}{read}"


def _coverage(coverage: dict[str, int]) -> str:
    return " and ".join(count(coverage[name], one) for name, one in READ.items() if coverage.get(name))


def _components(areas: dict[str, Any]) -> list[str]:
    for area in ("sbom", "sca"):
        coverage = areas.get(area, {}).get("coverage") or {}
        for name in ("components", "packages"):
            if coverage.get(name):
                return [count(coverage[name], "component")]
    return []


def _judged(areas: dict[str, Any]) -> list[str]:
    """What is said of the components: by vulnerability data, and by the areas beside it where they found something."""
    said = []
    if row := areas.get("sca"):
        data = f"{'sample data' if row['sample_data'] else 'data'} of {row['data_date'][:10]}" if row["data_date"] else ""
        said.append("no vulnerability data" if row["state"] == "no_data" else f"{data}: {_found([row])}".removeprefix(": "))
    for area, name in (("license", "licences"), ("image", "image"), ("sbom", "denied")):
        if area in areas and (found := _found([areas[area]])) != "clean":
            said.append(f"{name}: {found}")
    return said


def _found(rows: list[dict[str, Any]]) -> str:
    totals = {name: sum((row["counts"] or {}).get(name, 0) for row in rows) for name in SEVERITIES}
    return ", ".join(f"{number} {name}" for name, number in totals.items() if number) or "clean"


def lasted_ms(step: dict[str, Any]) -> int | None:
    """How long a step took, from its beginning to its end."""
    if step["duration_ms"] is not None:
        return int(step["duration_ms"])
    began, ended = step["started_at_ms"], step["ended_at_ms"]
    return ended - began if began and ended else None


def gate(decision: dict[str, Any]) -> tuple[str, list[str]]:
    """The verdict in a sentence, and what would make it pass when it blocks."""
    body = decision["body"]
    blocking = [reason for reason in body.get("reasons", []) if reason["effect"] == "block"]
    if decision["verdict"] != "block":
        return decision["sentence"], []
    ways = body.get("ways") or [reason["pass_by"] for reason in blocking if reason["pass_by"]]
    why = "; ".join(f"{reason['rule']}, {reason['text']}" for reason in blocking[:2])
    return f"blocked: {why}" if why else decision["sentence"], [f"To pass: {way[:1].lower()}{way[1:]}." for way in ways[:1]]
