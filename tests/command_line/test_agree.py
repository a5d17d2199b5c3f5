"""Before the set-up changes the machine it asks; who is silent has agreed. In a real terminal (a pty)."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import time

import pytest

ASK = "from kiops.setup.screen import Screen; print('answer', Screen().agree('Continue?', seconds={seconds}), flush=True)"


def asked(seconds: float, typed: bytes | None) -> tuple[str, float]:
    """What the terminal shows, and how long it took from the question to the answer."""
    ours, theirs = pty.openpty()
    try:
        child = subprocess.Popen(
            [sys.executable, "-c", ASK.format(seconds=seconds)], stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
        )
        os.close(theirs)
        shown, began, deadline = "", 0.0, time.monotonic() + 60
        while not re.search(r"answer \w+\r?\n", shown):
            assert select.select([ours], [], [], max(0.0, deadline - time.monotonic()))[0], f"nothing more came: {shown}"
            shown += os.read(ours, 4096).decode()
            if "[Y/n]" in shown and not began:
                began = time.monotonic()
                if typed is not None:
                    os.write(ours, typed)
        took = time.monotonic() - began
        assert child.wait(60) == 0
        return shown, took
    finally:
        os.close(ours)


@pytest.mark.slow
def test_silence_is_yes_but_only_after_the_time() -> None:
    shown, took = asked(0.7, None)
    assert "Continue? [Y/n] (answering yes in 0.7 s)" in shown and "answer True" in shown
    assert took > 0.5


@pytest.mark.parametrize(
    ("typed", "answer"), [(b"n\n", False), (b"No\n", False), (b"\n", True), (b"y\n", True)], ids=["n", "No", "Enter", "y"]
)
def test_what_is_typed_counts_and_nobody_waits(typed: bytes, answer: bool) -> None:
    """The time is so long that only the key can have ended the waiting."""
    shown, _ = asked(3600, typed)
    assert f"answer {answer}" in shown


def test_a_person_has_five_seconds() -> None:
    import inspect

    from kiops.setup.screen import Screen

    assert inspect.signature(Screen.agree).parameters["seconds"].default == 5


def test_without_a_terminal_nobody_is_asked() -> None:
    done = subprocess.run(
        [sys.executable, "-c", ASK.format(seconds=3600)], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True
    )
    assert done.stdout == "answer True\n"
