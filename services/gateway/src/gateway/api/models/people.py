"""Who is asking, passwords, tokens, links."""

from pydantic import Field

from gateway.api.models.base import In, Out


class MeOut(Out):
    name: str
    label: str
    organisation: str
    role: str
    via: str
    csrf: str = Field("", description="What a changing request of this session sends as X-CSRF-Token")


class SignInIn(In):
    name: str = Field(max_length=200)
    password: str = Field(max_length=1024, repr=False)


class PasswordIn(In):
    password: str = Field(min_length=12, max_length=1024, repr=False)


class TokenIn(In):
    """A token for a program. `days` null: it works until it is ended."""

    label: str = Field(max_length=80, description="What it is for")
    days: int | None = Field(90, ge=1, le=3650)


class TokenOut(Out):
    id: str
    label: str
    created_at_ms: int
    expires_at_ms: int | None


class NewTokenOut(Out):
    """`token` is shown this once."""

    id: str
    token: str
    expires_at_ms: int | None


class LinkOut(Out):
    """A one-time sign-in link."""

    path: str
    url: str
    expires_at_ms: int
