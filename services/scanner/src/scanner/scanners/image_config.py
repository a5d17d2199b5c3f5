"""What an image's own configuration shows: who it runs as, what stands in its environment, which doors it opens."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from shared.words import Area, Severity

from scanner.domain.findings import Finding
from scanner.domain.masking import HIDDEN

_SECRET_NAME = re.compile(r"(?i)(?:password|passwd|secret|token|api_?key|access_?key|private_?key|credential)")
_NOT_SECRET = re.compile(r"(?i)(?:_file|_path|_url|_uri|_ttl|_name|_id|_expiry|_length|_header)$")


def findings(configuration: dict[str, Any]) -> Iterator[Finding]:
    """Findings of an image configuration (the OCI shape: `config` with User, Env, ExposedPorts). Values never leave here."""
    config = configuration.get("config") or {}
    user = str(config.get("User") or "")
    if user.split(":")[0] in ("", "0", "root"):
        yield _finding(
            "kiops.image.root-user",
            "The image runs as root",
            Severity.MEDIUM,
            "CWE-250",
            "Whoever breaks out of the program has all rights in the container, and more against the kernel.",
            "Add `USER 10001` (any number but 0) as the last step that changes files is done.",
            "user",
        )
    for entry in config.get("Env") or []:
        name, _, value = str(entry).partition("=")
        if len(value) >= 8 and _SECRET_NAME.search(name) and not _NOT_SECRET.search(name):
            yield _finding(
                "kiops.image.secret-in-environment",
                f"The image carries a value for {name}",
                Severity.HIGH,
                "CWE-798",
                f"{name}={HIDDEN} stands in the image's configuration: whoever may pull the image can read it.",
                "Take it out of the Dockerfile, revoke the value, and give the new one when the container starts.",
                name,
            )
    if "22/tcp" in (config.get("ExposedPorts") or {}):
        yield _finding(
            "kiops.image.ssh-port",
            "The image offers SSH",
            Severity.MEDIUM,
            "CWE-1327",
            "A shell server inside a container is one more door, with keys of its own to look after.",
            "Remove the server and `EXPOSE 22`; look into containers through the runtime.",
            "22/tcp",
        )


def _finding(rule: str, title: str, severity: Severity, cwe: str, message: str, advice: str, resource: str) -> Finding:
    return Finding(
        area=Area.IMAGE,
        rule=rule,
        title=title,
        severity=severity,
        engine="kiops",
        message=message,
        advice=advice,
        weakness=rule.rsplit(".", 1)[-1],
        cwe=(cwe,),
        resource=resource,
    )
