"""What Git hosts send. One module per provider, pure functions: verify the signature, normalise the payload."""

from __future__ import annotations

from webhook.providers import generic
from webhook.providers.push import Provider

PROVIDERS: dict[str, Provider] = {"generic": generic}
"""Which module reads the deliveries at `/api/v1/webhook/<provider>/...`."""
