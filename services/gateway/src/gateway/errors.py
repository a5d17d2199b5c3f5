"""What the gateway refuses, and why. Each has a stable code; `shared.errors` says how the doors answer its kind.

Rejected
├── SignInNeeded          access.sign_in_needed        401
├── SignInRefused         access.wrong_password        401
├── LinkUsed              access.link_used             401
├── TooManyTries          access.too_many_tries        429, with Retry-After
├── CsrfMissing           access.csrf                  403
├── AdminNeeded           access.admin_needed          403
├── NotFound              <noun>.not_found             404
├── NameTaken             service.name_taken           409
├── NotAllowedHere        service.path_not_allowed     422
├── BadInput              input.<what>                 422
├── KeyReused             idempotency.reused           422; idempotency.running 409
└── OrderRefused          the receiver's own code      409
"""

from __future__ import annotations

from shared.errors import Rejected


class SignInNeeded(Rejected):
    status = 401

    def __init__(self) -> None:
        super().__init__(
            "access.sign_in_needed",
            "This needs a signed-in person.",
            "Sign in, or send `Authorization: Bearer` with a token.",
        )


class SignInRefused(Rejected):
    status = 401

    def __init__(self) -> None:
        super().__init__(
            "access.wrong_password",
            "The name or the password is not right.",
            "Try again, or make a sign-in link on the machine itself with `kiops login-link`.",
        )


class LinkUsed(Rejected):
    status = 401

    def __init__(self) -> None:
        super().__init__(
            "access.link_used",
            "This sign-in link was used already, is too old, or never existed.",
            "Make another on the machine itself with `kiops login-link`.",
        )


class TooManyTries(Rejected):
    status = 429

    def __init__(self, retry_after_seconds: int) -> None:
        super().__init__(
            "access.too_many_tries",
            f"Too many wrong passwords. The next try is possible in {retry_after_seconds} s.",
            "Wait, or use a sign-in link.",
            retry_after_seconds=retry_after_seconds,
        )
        self.retry_after_seconds = retry_after_seconds


class CsrfMissing(Rejected):
    status = 403

    def __init__(self) -> None:
        super().__init__(
            "access.csrf",
            "This request did not come from a page of this session. Nothing was changed.",
            "Reload the page and try again; programs send a bearer token instead of a cookie.",
        )


class AdminNeeded(Rejected):
    status = 403

    def __init__(self) -> None:
        super().__init__("access.admin_needed", "This is for administrators.", "Ask one of them.")


class NotFound(Rejected):
    status = 404

    def __init__(self, noun: str, name: str) -> None:
        super().__init__(f"{noun}.not_found", f"There is no {noun} {name!r} here.", "", noun=noun)


class NameTaken(Rejected):
    status = 409

    def __init__(self, name: str) -> None:
        super().__init__("service.name_taken", f"A service is called {name} already.", "Choose another name.", field="name")


class BadInput(Rejected):
    """A field's value cannot be used. `field` names it; the message says what to enter."""

    def __init__(self, what: str, message: str, *, field: str, advice: str = "") -> None:
        super().__init__(f"input.{what}", message, advice, field=field)


class NotAllowedHere(Rejected):
    def __init__(self, roots: list[str]) -> None:
        where = " or ".join(roots) if roots else ""
        super().__init__(
            "service.path_not_allowed",
            "A repository on this machine must lie below an allowed folder."
            if roots
            else "Repositories on this machine are not allowed.",
            f"Put it below {where}, or add its folder to GATEWAY_ALLOWED_REPOSITORY_ROOTS."
            if roots
            else "Name a folder in GATEWAY_ALLOWED_REPOSITORY_ROOTS, or use a Git URL.",
            field="repository_url",
        )


class KeyReused(Rejected):
    def __init__(self, running: bool) -> None:
        if running:
            super().__init__(
                "idempotency.running",
                "The first request with this key is still being answered.",
                "Try again in a second.",
                status=409,
            )
        else:
            super().__init__(
                "idempotency.reused",
                "This Idempotency-Key was used for another request.",
                "Use a new key for each request.",
            )


class OrderRefused(Rejected):
    """The receiver refused a person's order; its code, reason and advice as it gave them."""

    status = 409
