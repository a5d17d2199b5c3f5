"""What may be entered, and how states roll up."""

from __future__ import annotations

from pathlib import Path

import pytest
from gateway.domain import names
from gateway.domain.rollup import LastRun, Place, foremost, roll_up
from gateway.domain.steps import areas_state, rows_of, standing, summary
from gateway.errors import BadInput, NotAllowedHere


@pytest.mark.parametrize(
    "address",
    [
        "https://git.example.org/team/shop.git",
        "http://git.example.org:3000/shop",
        "ssh://git@git.example.org:2222/shop.git",
        "git@git.example.org:team/shop.git",
        "git://git.example.org/shop.git",
    ],
)
def test_any_git_address_is_taken(address: str) -> None:
    assert names.repository_url(f" {address} ", []) == address


@pytest.mark.parametrize(
    ("address", "code"),
    [
        ("", "input.empty"),
        ("--upload-pack=touch", "input.repository_url"),
        ("ext::sh -c id", "input.repository_url"),
        ("https://user:" + "token" + "@git.example.org/shop.git", "input.url_credential"),
        ("https://" + "token" + "@git.example.org/shop.git", "input.url_credential"),
        ("https://git.example.org", "input.repository_url"),
        ("https://git.example.org:99999/shop", "input.repository_url"),
        ("ftp://git.example.org/shop", "input.repository_url"),
        ("https://git.example.org/a b", "input.repository_url"),
        ("https://git.example.org/\0", "input.characters"),
        ("https://git.example.org/\ud800", "input.characters"),
        ("../shop.git", "input.path"),
    ],
)
def test_other_addresses_say_what_to_enter(address: str, code: str) -> None:
    with pytest.raises(BadInput) as refused:
        names.repository_url(address, [])
    assert refused.value.code == code


def test_a_path_counts_only_below_an_allowed_folder_and_links_are_followed_first(tmp_path: Path) -> None:
    root, outside = tmp_path / "allowed", tmp_path / "outside"
    for folder in (root / "shop.git", outside):
        folder.mkdir(parents=True)
    (root / "link").symlink_to(outside)
    assert names.repository_url(str(root / "shop.git"), [root]) == str(root / "shop.git")
    assert names.repository_url(f"file://{root}/shop.git", [root]) == str(root / "shop.git")
    for bad in (outside, root / "link", root / ".." / "outside", tmp_path / "allowed-not"):
        with pytest.raises(NotAllowedHere):
            names.repository_url(str(bad), [root])
    with pytest.raises(NotAllowedHere) as refused:
        names.repository_url(str(root), [])
    assert "GATEWAY_ALLOWED_REPOSITORY_ROOTS" in refused.value.advice


@pytest.mark.parametrize("bad", ["", "Shop", "-a", "a-", "a" * 49, "a.b", "1a", "a\0", "ä"])
def test_names_are_dns_labels(bad: str) -> None:
    with pytest.raises(BadInput):
        names.label(bad)
    assert names.label(" shop-api ") == "shop-api"


@pytest.mark.parametrize("bad", ["-x", "a..b", "a b", "a~1", "a^", "a:b", "a?", "a*", "@{1}", "/a", "a/", "a//b", "x.lock"])
def test_what_git_would_not_take_as_a_ref_is_refused(bad: str) -> None:
    with pytest.raises(BadInput):
        names.ref(bad, field="branch")
    assert names.ref("feature/größe-ñ", field="branch") == "feature/größe-ñ"


@pytest.mark.parametrize("bad", [".1", "-1", "1 2", "a" * 129, "ü", "a/b"])
def test_versions_by_hand(bad: str) -> None:
    with pytest.raises(BadInput):
        names.version(bad)
    assert names.version(" 1.2.3-rc_1 ") == "1.2.3-rc_1" and names.version("  ") is None


@pytest.mark.parametrize("bad", ["/etc/passwd", "../Dockerfile", "a/../../b", "a\\b"])
def test_paths_stay_inside_the_repository(bad: str) -> None:
    with pytest.raises(BadInput):
        names.path_inside(bad, field="dockerfile", default="./Dockerfile")


def test_variables_have_names_of_variables() -> None:
    assert names.variables({"A_1": "line\nline"}) == {"A_1": "line\nline"}
    for bad in ({"1A": ""}, {"A B": ""}, {"A": "\0"}, {f"A{n}": "" for n in range(201)}):
        with pytest.raises(BadInput):
            names.variables(bad)


# -- roll-up ---------------------------------------------------------------------------------------------------------
DEV = Place("development", "not_production", "running", True, 10)
PROD = Place("production", "production", "running", True, 5)


@pytest.mark.parametrize(
    ("places", "last", "expected"),
    [
        ([], None, ("registered", "")),
        ([DEV], None, ("running", "development")),
        ([DEV, PROD], None, ("running", "production")),
        ([Place("development", "not_production", "running", False, 10)], None, ("unreachable", "development")),
        ([Place("development", "not_production", "registered", False, None)], None, ("registered", "development")),
        ([DEV, Place("production", "production", "deploying", True, 5)], None, ("deploying", "production")),
        ([DEV], LastRun("running", None, {"build": "running"}), ("building", "")),
        ([DEV], LastRun("running", None, {"build": "success", "sca": "running"}), ("running", "development")),
        ([DEV], LastRun("blocked", "gate", {}), ("blocked", "")),
        ([DEV], LastRun("failed", "build", {}), ("build_failed", "")),
        (
            [Place("development", "not_production", "degraded", True, 5)],
            LastRun("failed", "operate", {}),
            ("degraded", "development"),
        ),
        (
            [Place("development", "not_production", "deploy_failed", True, 5)],
            LastRun("failed", "deploy", {}),
            ("deploy_failed", "development"),
        ),
    ],
)
def test_the_roll_up_takes_the_first_in_order(places: list[Place], last: LastRun | None, expected: tuple[str, str]) -> None:
    assert roll_up(places, last) == expected


def test_production_names_the_deployed_version() -> None:
    assert foremost([DEV, PROD]) == PROD
    assert foremost([Place("production", "production", "registered", True, None), DEV]) == DEV
    assert foremost([]) is None


# -- steps -----------------------------------------------------------------------------------------------------------
def test_gate_deploy_and_operate_have_a_row_per_environment() -> None:
    assert rows_of(["build", "gate"], ["dev", "prod"]) == [("build", "", 0), ("gate", "dev", 1), ("gate", "prod", 1)]
    assert rows_of(["gate"], []) == [("gate", "", 0)]


def test_one_state_stands_for_the_rows_of_a_step() -> None:
    rows = [("gate", "success"), ("gate", "blocked"), ("build", "success")]
    assert summary(rows) == {"build": "success", "gate": "blocked"}
    assert list(summary([("operate", "waiting"), ("source", "success")])) == ["source", "operate"]


def test_where_a_run_stands() -> None:
    steps = [("source", "success", "", ""), ("build", "waiting", "", "for a build slot")]
    assert standing("running", "", steps) == "Waits for a build slot"
    assert standing("running", "", [*steps, ("sast", "running", "", "")]) == "Scanning the source"
    assert standing("failed", "The build failed.", steps) == "The build failed."


def test_a_scan_step_is_as_good_as_its_worst_area() -> None:
    areas = ["sast", "secrets", "iac"]
    clean = {area: ("completed", {}) for area in areas}
    assert areas_state(areas, clean) == "success"
    assert areas_state(areas, clean | {"iac": ("not_applicable", {})}) == "success"
    assert areas_state(areas, clean | {"iac": ("failed", {})}) == "failed"
    assert areas_state(areas, clean | {"sast": ("completed", {"high": 1})}) == "warning"
    assert areas_state(areas, clean | {"sast": ("no_data", {})}) == "warning"
    assert areas_state(areas, clean | {"sast": ("running", {})}) == "running"
    assert areas_state(areas, {}) == "waiting"
