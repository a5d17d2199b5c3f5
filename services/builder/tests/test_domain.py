"""Rules of builds: versions, names, causes, what a queued build waits for, what a Dockerfile says."""

from __future__ import annotations

import pytest
from builder.clients.buildkit.failures import explain, tidy
from builder.clients.buildkit.ignore import Ignored
from builder.domain.build import (
    BuildRequest,
    Taken,
    Ticket,
    cause_line,
    chosen_version,
    image_name,
    timestamp_version,
    waits_for,
)
from builder.domain.dockerfile import bases, likely
from builder.domain.plan import Abilities
from builder.errors import VersionInvalid, VersionTaken

MARCH_26 = 1_774_535_400_000


def test_a_version_nobody_chose_is_the_time_and_the_commit() -> None:
    assert timestamp_version(MARCH_26, "9f3c1ab7d20e", 4) == "20260326-143000-9f3c1ab"
    assert timestamp_version(MARCH_26, "", 4) == "20260326-143000-4"


@pytest.mark.parametrize("version", ["1.0.0", "_x", "v1", "a" * 128, "2026.03-rc_1"])
def test_versions_an_image_can_have(version: str) -> None:
    assert chosen_version(version, "a", None) == version


@pytest.mark.parametrize("version", ["", "-1", ".x", "a b", "é", "a/b", "a" * 129, "a\n", "a:b", "\u0661"])
def test_versions_no_image_can_have(version: str) -> None:
    with pytest.raises(VersionInvalid):
        chosen_version(version, "a", None)


def test_a_version_belongs_to_one_commit() -> None:
    assert chosen_version("1", "same", Taken("same", 3)) == "1"
    with pytest.raises(VersionTaken, match="run #3"):
        chosen_version("1", "other", Taken("same", 3))


def test_the_log_begins_with_the_cause() -> None:
    assert (
        cause_line("webhook", "Ada", "push of 3 commits to main", "refs/heads/main")
        == "Triggered by webhook: push of 3 commits to main by Ada"
    )
    assert cause_line("manual", "Ada", "", "refs/tags/v1") == "Started by hand: build of v1 by Ada"
    assert cause_line("schedule-of-2030", "nightly", "nightly build", "") == "Triggered: nightly build"


def test_what_a_build_waits_for() -> None:
    assert waits_for([], 0, 2) == ""
    assert waits_for([7], 1, 2) == "build #7 of this service"
    assert waits_for([7, 8, 6], 1, 2) == "build #8 of this service and 2 before it"
    assert waits_for([], 2, 2) == "a free slot: 2 of 2 builds are running"


def test_names_of_images() -> None:
    assert image_name("sample-shop", "svc_1") == "sample-shop"
    assert image_name("Sample Shop!", "svc_1") == "sample-shop"
    assert image_name("ä", "svc_1") == "svc-1"


def test_a_ticket_survives_the_jobs_payload() -> None:
    request = BuildRequest("main", "svc_1", "shop", "run_1", 1, "a" * 40, "/x.git", credential="crd_1")
    ticket = Ticket("bld_1", request, "1.0", version_by_hand=True)
    assert Ticket.read(ticket.payload()) == ticket


def test_bases_of_a_dockerfile() -> None:
    text = """# FROM not-this
ARG VERSION=3.11
ARG REGISTRY
FROM --platform=linux/amd64 python:${VERSION}-slim AS build
RUN echo \\
    FROM nothing
FROM ${REGISTRY:-docker.io}/nginx:1 AS web
FROM Build
COPY --from=web /x /x
"""
    found = bases(text)
    assert found.final == "python:3.11-slim"
    assert found.outside == ("python:3.11-slim", "docker.io/nginx:1")
    assert bases("").final == ""


def test_likely_dockerfiles() -> None:
    files = ["x/y/Dockerfile.dev", "Dockerfile.dockerignore", "a/Containerfile", "dockerfiles.txt", "app.dockerfile", "Dockerfile"]
    assert likely(files, "Dockerfile") == ["app.dockerfile", "a/Containerfile", "x/y/Dockerfile.dev"]


@pytest.mark.parametrize(
    ("patterns", "path", "out"),
    [
        ("node_modules", "node_modules/a/b.js", True),
        ("node_modules", "web/node_modules/a.js", False),
        ("**/node_modules", "web/node_modules/a.js", True),
        ("/dist/", "dist/x", True),
        ("*.md", "README.md", True),
        ("*.md", "docs/README.md", False),
        ("*.md\n!README.md", "README.md", False),
        ("docs\n!docs/keep", "docs/keep", False),
        ("# note", "# note", False),
        ("./a/../b", "b", True),
        ("**", "x/y", True),
        (".", "x", False),
    ],
)
def test_dockerignore(patterns: str, path: str, out: bool) -> None:
    assert Ignored(patterns)(path) is out


@pytest.mark.parametrize(
    ("message", "step", "last", "code"),
    [
        ("executor failed running [/bin/sh -c make]: exit code: 137", "[2/2] RUN make", [], "build.out_of_memory"),
        (
            'process "/bin/sh -c make" did not complete successfully: exit code: 1',
            "[2/2] RUN make",
            ["cc1: out of memory allocating 65536 bytes"],
            "build.out_of_memory",
        ),
        ('process "/bin/sh -c make" did not complete successfully: exit code: 2', "[2/2] RUN make", [], "build.step_failed"),
        ("exit code: 1", "[2/2] RUN make", ["write error: No space left on device"], "build.disk_full"),
        ("failed to copy: write /x: no space left on device", "exporting to image", [], "build.disk_full"),
        (
            "pull access denied, repository does not exist or may require authorization: server message: insufficient_scope",
            "[internal] load metadata for docker.io/acme/base:1",
            [],
            "build.base_refused",
        ),
        (
            "docker.io/library/python:9.99: not found",
            "[internal] load metadata for docker.io/library/python:9.99",
            [],
            "build.base_not_found",
        ),
        ("dockerfile parse error on line 4: unknown instruction: CPOY", "", [], "build.dockerfile_invalid"),
        ("something nobody has seen before", "[1/2] RUN x", [], "build.failed"),
    ],
)
def test_what_engines_say_is_understood(message: str, step: str, last: list[str], code: str) -> None:
    error = explain(message, step, last)
    assert error.code == code and error.message and error.advice


def test_messages_lose_what_layers_put_before_them() -> None:
    said = "failed to solve with frontend dockerfile.v0: failed to build LLB: executor failed running [x]: exit code: 1"
    assert tidy(said) == "executor failed running [x]: exit code: 1"


def test_abilities_are_said() -> None:
    assert Abilities("20.10.24", True).sentence() == "20.10.24 with BuildKit (cannot limit memory of builds: needs 29)"
    assert Abilities("29.7.2", True).sentence() == "29.7.2 with BuildKit"
