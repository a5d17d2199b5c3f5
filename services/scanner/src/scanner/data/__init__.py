"""Vulnerability data: bundles of Trivy's database on this machine, each with its date.

    <root>/data/trivy/bundles/<name>/db/{trivy.db, metadata.json}    what scans read
    <root>/data/trivy/current                                        the name of the bundle in use
    <root>/data/trivy/sample/db/...                                  the demo's tiny bundle, for sample services alone

A bundle is written aside and becomes current by renaming one file, so that a scan always reads a whole one. The one before stays
for scans that still read it.
"""

from scanner.data.bundles import Bundle, current, import_bundle, list_bundles, sample

__all__ = ["Bundle", "current", "import_bundle", "list_bundles", "sample"]
