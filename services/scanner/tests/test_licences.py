"""Licences of components: one line each, under the names people use."""

from __future__ import annotations

from scanner.scanners.licences import findings_of


def test_each_licence_is_told_once_with_who_has_it() -> None:
    components: list[dict[str, object]] = [
        {
            "name": "a",
            "version": "1",
            "licences": ["MIT", "text://* Permission is hereby granted, free of charge, to any person"],
        },
        {"name": "b", "version": "2", "licences": ["MIT"]},
        {"name": "c", "version": "", "licences": []},
    ]
    titles = {f.licence[:7]: (f.title, f.severity, f.package) for f in findings_of(components)}
    assert titles == {
        "MIT": ("MIT: 2 components", "info", "a 1, b 2"),
        "text://": ('A text that begins "Permission is hereby granted, free of charge, to": 1 component', "info", "a 1"),
        "unknown": ("1 component without a licence", "medium", "c"),
    }
