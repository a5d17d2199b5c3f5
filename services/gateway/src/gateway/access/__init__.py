"""Who is asking: sign-in by password or one-time link, sessions, tokens, CSRF, and the limits of trying."""

from gateway.access.door import Access, Actor

__all__ = ["Access", "Actor"]
