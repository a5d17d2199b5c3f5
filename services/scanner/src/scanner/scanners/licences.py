"""Licences of an image's components: one finding for each licence, so that a policy sees them all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from shared.words import Area, Severity

from scanner.domain.findings import Finding

UNKNOWN = "unknown"
SHOWN = 5


def findings_of(components: Iterable[dict[str, object]]) -> Iterator[Finding]:
    """One finding per licence with the components that have it; `unknown` gathers those that name none.

    A list by package would be hundreds of lines in any image and would be cut; the licences are few, and a decision needs
    exactly them. The components with their licences stand in the report.
    """
    by_licence: dict[str, list[str]] = {}
    for component in components:
        names = component["licences"]
        assert isinstance(names, list)
        for name in names or [UNKNOWN]:
            by_licence.setdefault(str(name)[:120], []).append(f"{component['name']} {component['version']}".strip())
    for licence, users in sorted(by_licence.items()):
        users = sorted(set(users))
        shown = ", ".join(users[:SHOWN]) + (f" and {len(users) - SHOWN} more" if len(users) > SHOWN else "")
        none = licence == UNKNOWN
        yield Finding(
            area=Area.LICENSE,
            rule="license.unknown" if none else "license.used",
            title=f"{_components(len(users))} without a licence" if none else f"{_named(licence)}: {_components(len(users))}",
            severity=Severity.MEDIUM if none else Severity.INFO,
            engine="trivy",
            message=f"Of: {shown}.",
            advice="Look at the components' pages, or ask their authors; then tell it to your organisation." if none else "",
            package=shown[:200],
            licence=licence,
            id="",
        )


def _named(licence: str) -> str:
    """The licence as people say it. `text://...` is Trivy's word for a text that it knows no name for."""
    words = licence.removeprefix("text://")
    return licence if words == licence else f'A text that begins "{words[:50].strip(" *")}"'


def _components(number: int) -> str:
    return "1 component" if number == 1 else f"{number} components"
