"""Every metric has its row, and what is said of monitoring names only metrics, labels and values that there are."""

from __future__ import annotations

import re
from pathlib import Path

from shared.metrics import METRICS, OUTCOMES

DOCS = Path(__file__).resolve().parents[2] / "docs"
SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_count", "_sum")}


def series() -> dict[str, tuple[str, ...]]:
    """Name of every series -> its labels."""
    return {
        f"kiops_{metric.name}{suffix}": ("service", *metric.labels, *(("le",) if suffix == "_bucket" else ()))
        for metric in METRICS.values()
        for suffix in SUFFIXES[metric.kind]
    }


def test_every_metric_has_its_row() -> None:
    text = (DOCS / "metrics.md").read_text()
    for metric in METRICS.values():
        assert f"| `{metric.full}` | {metric.kind} |" in text and metric.text in text
        assert metric.text.endswith("."), metric.name


def test_what_is_said_of_monitoring_names_series_that_there_are() -> None:
    text = (DOCS / "operations" / "monitoring.md").read_text() + (DOCS / "operations" / "running.md").read_text()
    known = series()
    named = set(re.findall(r"\bkiops_[a-z_]+", text))
    assert len(named) > 12
    assert named <= set(known), named - set(known)
    for name, chosen in re.findall(r"\b(kiops_[a-z_]+)\{(.*?)\}(?=[\[)`\s])", text):
        for label, value in re.findall(r"(\w+)=~?\"([^\"]*)\"", chosen):
            assert label in known[name], f"{name} has no label {label}"
            if label == "outcome":
                assert set(value.split("|")) <= set(OUTCOMES)
    for by, inner in re.findall(r"by \(([\w, ]+)\)\s*\(?[^`]*?(kiops_[a-z_]+)", text):
        for label in by.split(", "):
            assert label in (*known[inner], "instance"), (label, inner)
