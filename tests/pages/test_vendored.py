"""What is vendored is what the manifest says, and NOTICE names it."""

from __future__ import annotations

from tests.pages.conftest import ROOT, vendor


def test_committed_files_are_the_manifests() -> None:
    assert vendor().check() == []


def test_notice_names_every_package() -> None:
    notice = (ROOT / "NOTICE").read_text()
    manifest = vendor().manifest()
    for package in manifest["packages"] + manifest["tests"]:
        assert package["name"] in notice and package["version"] in notice and package["licence"] in notice, package["name"]
    licences = [path for package in manifest["packages"] for path in package["files"].values() if "licences/" in path]
    assert len(licences) == len(manifest["packages"]), "each has its licence's text"
