"""Sign-in and the signed-in person's own page."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.contexts.frame import Field, Frame


@dataclass(frozen=True)
class SignInPage:
    frame: Frame
    name: Field
    password: Field
    go_to: str
    problem: str = ""


@dataclass(frozen=True)
class AccountPage:
    frame: Frame
    new: Field


@dataclass(frozen=True)
class ErrorPage:
    """What happened, what goes on, what to do; then the code and the trace for whoever helps."""

    frame: Frame
    status: int
    title: str
    what: str
    advice: str
    code: str
    trace: str
    again: str = ""
    home: str = "/dashboard"
    home_label: str = "Go to the dashboard"
