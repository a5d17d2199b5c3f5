"""Names, routes, what is kept and what removed, when a release is healthy: rules without I/O."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from operator_proxy.domain import naming, routes
from operator_proxy.domain.health import Look, Probe, Watch
from operator_proxy.domain.naming import Mark, Target
from operator_proxy.domain.placing import Found, Seen, drained_text, look, stray_routes, strays
from operator_proxy.domain.routes import Route

ROUTE = Route("dev-1", "main", "svc_1", "dev", "rel_1", 1, 1, "c1", "r-1", 8080, "shop-dev.localhost", 0, "word")


def seen(name: str, *, release: str = "rel_2", fence: int = 2, token: int = 1, running: bool = True, image: str = "i2") -> Seen:
    mark = Mark("p", "main", "svc_1", "dev", release, fence, fence, "job_1", token)
    return Seen(name, name, mark, image, running)


OLD = seen("c1", release="rel_1", fence=1, image="i1")


# -- names -------------------------------------------------------------------------------------------------------------
@given(st.text(max_size=200), st.text(max_size=200))
def test_a_host_is_a_name_that_every_resolver_takes(service: str, environment: str) -> None:
    label, domain = naming.host(service, environment, "localhost").split(".")
    assert domain == "localhost" and 0 < len(label) <= 63
    assert set(label) <= set("abcdefghijklmnopqrstuvwxyz0123456789-") and label.strip("-") == label


def test_targets_with_the_same_short_host_are_told_apart() -> None:
    assert naming.host("a-b", "c", "x") == naming.host("a", "b-c", "x")
    assert naming.host("a-b", "c", "x", told_apart_by="svc_1") != naming.host("a", "b-c", "x", told_apart_by="svc_2")


def test_keys_of_targets_differ() -> None:
    keys = {Target(o, s, e).key for o in "ab" for s in "cd" for e in ("prod", "PROD", "pröd", "p-rod")}
    assert len(keys) == 16


def test_container_is_called_as_people_expect() -> None:
    assert naming.container_name("1f2e3d4c", "Shop", "Production", 3) == "kiops-1f2e3d4c-shop-production-3"


def test_mark_survives_its_labels() -> None:
    mark = OLD.mark
    assert Mark.read(mark.labels()) == mark
    assert Mark.read({}) is None
    assert Mark.read(mark.labels() | {"kiops.fence": "x"}) is None


# -- routes ------------------------------------------------------------------------------------------------------------
def test_route_survives_its_file() -> None:
    assert Route.read(ROUTE.text()) == ROUTE
    assert Route.read("http: {}") is None
    assert Route.read("# kiops {broken\n") is None


def test_route_leads_people_and_the_probe_to_the_same_place() -> None:
    http = json.loads(ROUTE.text().split("\n", 1)[1])["http"]
    assert http["services"] == {"dev-1": {"loadBalancer": {"servers": [{"url": "http://r-1:8080"}]}}}
    assert {router["service"] for router in http["routers"].values()} == {"dev-1"}
    public, probe = http["routers"]["dev-1-web"], http["routers"]["dev-1-web-probe"]
    assert public["rule"] == "Host(`shop-dev.localhost`)" and "middlewares" not in public
    assert probe["rule"].startswith(public["rule"]) and probe["priority"] > public["priority"]


def test_candidate_is_found_by_the_probe_alone() -> None:
    candidate = replace(ROUTE, candidate=True, port=8641)
    http = json.loads(candidate.text().split("\n", 1)[1])["http"]
    assert candidate.file != ROUTE.file
    assert all("Header(`X-Kiops-Probe`, `word`)" in router["rule"] for router in http["routers"].values())
    assert {point for router in http["routers"].values() for point in router["entryPoints"]} == {"web", "port-8641"}


def test_own_file_keeps_its_word() -> None:
    assert routes.own_word(routes.own_text("abc")) == "abc"
    assert routes.own_word("something else") == ""


# -- what there is to begin with ---------------------------------------------------------------------------------------
def test_first_attempt_starts_beside_what_serves() -> None:
    assert look("rel_2", 2, "i2", [OLD], ROUTE) == Found(before=[OLD])


def test_second_attempt_adopts_the_running_container_and_removes_the_others() -> None:
    older, newer, stopped = seen("c2"), seen("c3", token=2), seen("c4", token=3, running=False)
    found = look("rel_2", 2, "i2", [OLD, older, newer, stopped], ROUTE)
    assert found == Found(keep=newer, before=[OLD], leftovers=[older, stopped])


def test_container_of_another_image_is_not_adopted() -> None:
    wrong = seen("c2", image="i9")
    assert look("rel_2", 2, "i2", [wrong], None) == Found(leftovers=[wrong])


def test_attempt_after_the_switch_goes_on_draining() -> None:
    mine, other = seen("c2"), seen("c3", token=2)
    route = replace(ROUTE, release="rel_2", fence=2, container="c2")
    assert look("rel_2", 2, "i2", [OLD, mine, other], route) == Found(True, mine, [OLD], [other])


def test_route_to_a_dead_container_of_ours_is_begun_again() -> None:
    dead = seen("c2", running=False)
    route = replace(ROUTE, release="rel_2", fence=2, container="c2")
    assert look("rel_2", 2, "i2", [dead], route) == Found(leftovers=[dead])


def test_same_release_under_a_newer_fence_runs_beside_its_older_self() -> None:
    again = look("rel_1", 5, "i1", [OLD], ROUTE)
    assert again == Found(before=[OLD])


def test_leftover_of_another_release_is_removed_at_once() -> None:
    lost = seen("c9", release="rel_0", fence=0)
    assert look("rel_2", 2, "i2", [OLD, lost], ROUTE).leftovers == [lost]


def test_sweep_removes_what_nobody_knows() -> None:
    assert strays([OLD, seen("c2")], {("rel_1", 1)}) == [seen("c2")]
    candidate = replace(ROUTE, candidate=True)
    unknown = replace(ROUTE, key="dev-2", release="rel_7")
    assert stray_routes([ROUTE, candidate, unknown], {("rel_1", 1)}, set()) == [candidate, unknown]
    assert stray_routes([ROUTE, candidate, unknown], {("rel_1", 1)}, {"dev-1", "dev-2"}) == []


# -- health ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("status", "by", "good"), [(200, "me", True), (302, "me", True), (404, "me", False), (200, "you", False)])
def test_probe_is_good_when_the_expected_one_answers_well(status: int, by: str, good: bool) -> None:
    assert Probe(status, by).good("me") is good


def test_watch_bears_single_failures_and_no_restart() -> None:
    watch = Watch("me", 8080, "/", failures_allowed=3)
    well, ill = Probe(200, "me"), Probe(503, "me")
    for probe in (ill, ill, well, ill, ill):
        assert watch.judge(Look(True, True, 0, probe)) == ("", "")
    assert watch.judge(Look(True, True, 0, ill)) == ("container.unhealthy", "GET / was answered with status 503")
    assert watch.judge(Look(True, True, 2, well))[0] == "container.restarted"
    assert watch.judge(Look(True, False, 0, well))[0] == "container.exited"
    assert watch.judge(Look(False, False, 0, well))[0] == "container.gone"


def test_drain_is_told_as_it_was() -> None:
    assert drained_text(None, 0, had_before=False) == "nothing to drain"
    assert drained_text(0, 3.24, had_before=True) == "drained in 3.2 s"
    assert "2 still open" in drained_text(2, 10, had_before=True)
