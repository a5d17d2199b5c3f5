"""What the Source page tells a person to send is what the webhook service checks."""

from __future__ import annotations

import re
from pathlib import Path

from webhook.providers import generic

TEMPLATE = Path(__file__).parents[2] / "services/gateway/src/gateway/templates/service/source.html"


def test_the_page_names_the_header_that_is_checked() -> None:
    named = re.findall(r"<code>(X-[\w-]+)</code>", TEMPLATE.read_text())
    assert [name.lower() for name in named] == [generic.SIGNATURE]
