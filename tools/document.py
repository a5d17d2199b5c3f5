"""Writes the documents that are made from the code: docs/events.md, settings.md, commands.md, metrics.md and asyncapi.json.

    python tools/document.py            write them
    python tools/document.py --check    say which are not what the code says; exit code 1 when there is one

Run it in the environment of the tests, after a contract, a setting or a command has changed.
"""

from __future__ import annotations

import argparse
import contextlib
import enum
import importlib
import inspect
import json
import os
import sys
import types
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
MADE = "<!-- Made by tools/document.py from the code. Change the code, then run it again. -->"
EXAMPLES = ROOT / "shared" / "src" / "shared"

MESSAGES_INTRO = """\
{fact} facts, {order} orders, {query} queries. Facts and orders lie on the stream `EVENTS`; a query is stored nowhere. The same for
programs: [asyncapi.json](asyncapi.json) (AsyncAPI 3.0).

Every message has `organisation` (text) and `service` (the service's id; `_` where there is none) besides its own fields, every
order also `intent` (the id under which a person's wish is stored; empty when no person asked). The body is JSON. CloudEvents
attributes are NATS headers: `ce-id`, `ce-type`, `ce-source`, `ce-subject`, `ce-time`, `ce-correlationid` (the run),
`ce-causationid` (the message before), and `traceparent`. `Nats-Msg-Id` is `ce-id`. Unknown fields are passed over and unknown codes
read as `other`, so that an older reader bears a newer writer. Contracts only grow: a field is added with a default, another
meaning is another message."""
CODES_INTRO = "Words that a state, cause or verdict is told by. `other` is what a reader makes of one it does not know."
SETTINGS_INTRO = """\
Every setting is an environment variable; none has to be set. Units are in the names. A list is written as JSON. `kiops settings`
prints all of them with the values that they have on your machine."""
COMMANDS_INTRO = """\
From a checkout each is written `./kiops ...`. `--json` prints one JSON object (or one per line) and nothing else. An error is told
as what happened, what to do and a code; the exit code is 0 (done), 1 (no: it failed, or was blocked), 2 (asked wrongly), 3
(something is away) or 4 (a defect of ours). On the machine itself commands sign in with the token file in the data folder;
elsewhere with `kiops login`."""


METRICS_INTRO = """\
Each service tells its own at `/-/<service>/metrics`, in Prometheus' text format, or as OpenMetrics to who asks for that. Nobody has
to sign in there: let only your Prometheus reach `/-/`. A histogram's series end in `_bucket`, `_count` and `_sum`. Counters begin
at 0 when a process starts. The values of labels come from bounded sets; `route` is a route's template, `other` where there was
none. What to look at, and when to wake somebody: [monitoring](operations/monitoring.md)."""


def sentence(cls: Any) -> str:
    """A docstring as one paragraph."""
    return " ".join((inspect.getdoc(cls) or "").split())


def cell(text: object) -> str:
    """Text inside a table."""
    return str(text).replace("|", "\\|").replace("\n", " ")


def table(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    return [*lines, *("| " + " | ".join(cell(value) for value in row) + " |" for row in rows)]


# -- messages ----------------------------------------------------------------------------------------------------------


class Messages:
    """The contracts as text. What a message holds besides plain values is told once, at the end."""

    def __init__(self) -> None:
        from shared.facts._base import REGISTRY
        from shared.queries.every import EVERY

        from shared import bus

        self.hears = bus.HEARS
        self.services = bus.SERVICES
        self.owners = (*bus.SERVICES, EVERY)
        self.classes = sorted(REGISTRY.values(), key=lambda cls: (self.owners.index(cls.owner), cls.name))
        self.parts: dict[str, Any] = {}
        self.words: dict[str, Any] = {}

    def readers(self, cls: Any) -> list[str]:
        return [name for name in self.services if cls in self.hears[name]]

    def heard_by(self, cls: Any) -> str:
        return cls.owner if cls.owner in self.services else "every service, each its own"

    def shape(self, kind: Any) -> str:
        """A field's type in words."""
        from shared.facts._base import Part

        origin, arguments = typing.get_origin(kind), typing.get_args(kind)
        if origin in (types.UnionType, typing.Union):
            return " or ".join("none" if one is type(None) else self.shape(one) for one in arguments)
        if origin is list:
            return f"list of {self.shape(arguments[0])}"
        if origin is dict:
            return f"{self.shape(arguments[1])} by name"
        if isinstance(kind, type) and issubclass(kind, enum.Enum):
            self.words[kind.__name__] = kind
            return f"[{kind.__name__}](#{kind.__name__.lower()})"
        if isinstance(kind, type) and issubclass(kind, Part):
            self.parts[kind.__name__] = kind
            return f"[{kind.__name__}](#{kind.__name__.lower()})"
        return {str: "text", int: "integer", float: "number", bool: "true or false"}[kind]

    def fields(self, cls: Any, *, common: bool = False) -> list[str]:
        """The table of what a message holds; `organisation` and `service` are told of once, above all."""
        rows = []
        for name, field in cls.model_fields.items():
            if name in ("organisation", "service", "intent") and not common:
                continue
            if field.is_required():
                default = "needed"
            else:
                default = "`" + json.dumps(field.get_default(call_default_factory=True)) + "`"
            rows.append((f"`{name}`", self.shape(field.annotation), default))
        return table(("field", "what", "default"), rows) if rows else ["No fields of its own."]

    def one(self, cls: Any) -> list[str]:
        last = f"<{cls.tail}>"
        lines = [f"### {cls.kind.capitalize()} `{cls.name}`", "", sentence(cls), ""]
        lines.append(f"Subject `{cls.type()}.<organisation>.{last}`, class `{cls.__module__}.{cls.__name__}`.")
        if cls.kind == "fact":
            lines.append(f"Published by {cls.owner}. Heard by {', '.join(self.readers(cls)) or 'nobody yet'}.")
        elif cls.kind == "order":
            lines.append(f"Obeyed by {cls.owner}. Sent by {', '.join(cls.senders)}.")
        else:
            answer = f"[{cls.answer.__name__}](#{cls.answer.__name__.lower()})" if cls.answer else "nothing: it goes one way"
            if cls.answer:
                self.parts[cls.answer.__name__] = cls.answer
            lines.append(f"Heard by {self.heard_by(cls)}. Asked by {', '.join(cls.askers)}. Answered with {answer}.")
        folder = {"fact": "facts", "order": "orders"}.get(cls.kind)
        if folder:
            lines.append(f"[Example](../shared/src/shared/{folder}/examples/{cls.name}.v1.json).")
        return [*lines, "", *self.fields(cls), ""]

    def text(self) -> str:
        counted = {kind: sum(cls.kind == kind for cls in self.classes) for kind in ("fact", "order", "query")}
        lines = [
            MADE,
            "# Messages",
            "",
            MESSAGES_INTRO.format(**counted),
            "",
        ]
        rows = [
            (f"[`{cls.name}`](#{cls.kind}-{anchor(cls.name)})", cls.kind, cls.owner, ", ".join(self.others(cls)))
            for cls in self.classes
        ]
        lines += [*table(("message", "kind", "owner", "with whom"), rows), ""]
        lines.append("*With whom*: who hears a fact (the gateway hears all), who sends an order, who asks a query.")
        lines.append("")
        for owner in self.owners:
            lines += [f"## {owner}", ""]
            for kind in ("fact", "order", "query"):
                for cls in self.classes:
                    if (cls.owner, cls.kind) == (owner, kind):
                        lines += self.one(cls)
        lines += ["## Values inside messages", ""]
        told: set[str] = set()
        while missing := sorted(set(self.parts) - told):
            for name in missing:
                told.add(name)
                lines += [f"### {name}", "", sentence(self.parts[name]), "", *self.fields(self.parts[name], common=True), ""]
        lines += ["## Codes", "", CODES_INTRO, ""]
        for name, cls in sorted(self.words.items()):
            codes = ", ".join(f"`{value.value}`" for value in cls)
            lines += [f"### {name}", "", sentence(cls), "", codes, ""]
        return "\n".join(lines).rstrip() + "\n"

    def others(self, cls: Any) -> list[str]:
        if cls.kind == "fact":
            return [name for name in self.readers(cls) if name != "gateway"] or ["gateway"]
        return list(cls.senders if cls.kind == "order" else cls.askers)


def anchor(text: str) -> str:
    """As code hosts make anchors of headings."""
    return text.lower().replace(".", "").replace(" ", "-")


def asyncapi() -> str:
    """AsyncAPI 3.0: a channel per message, an operation per service that sends or receives it."""
    from kiops import __version__

    messages = Messages()
    channels: dict[str, Any] = {}
    operations: dict[str, Any] = {}
    named: dict[str, Any] = {}
    schemas: dict[str, Any] = {"CloudEvent": CLOUD_EVENT}
    answers: dict[str, Any] = {}

    def keep(cls: Any) -> dict[str, str]:
        schema = cls.model_json_schema(ref_template="#/components/schemas/{model}", mode="validation")
        for name, inner in schema.pop("$defs", {}).items():
            schemas[name] = plain(inner)
        schemas[cls.__name__] = plain(schema)
        return {"$ref": f"#/components/schemas/{cls.__name__}"}

    def operate(service: str, action: str, cls: Any, **more: Any) -> None:
        operations[f"{service}.{action}.{cls.name}"] = {
            "action": action,
            "channel": {"$ref": f"#/channels/{cls.name}"},
            "tags": [{"name": service}],
            "messages": [{"$ref": f"#/channels/{cls.name}/messages/{cls.__name__}"}],
            **more,
        }

    for cls in messages.classes:
        message: dict[str, Any] = {
            "name": cls.__name__,
            "title": cls.name,
            "summary": sentence(cls),
            "contentType": "application/json",
            "payload": keep(cls),
            "tags": [{"name": cls.kind}, {"name": cls.owner}],
        }
        if cls.kind != "query":
            message["headers"] = {"$ref": "#/components/schemas/CloudEvent"}
            example = json.loads((EXAMPLES / f"{cls.kind}s" / "examples" / f"{cls.name}.v1.json").read_text())
            message["examples"] = [{"name": cls.name, "payload": example}]
        named[cls.__name__] = message
        channels[cls.name] = {
            "address": f"{cls.type()}.{{organisation}}.{{{cls.tail}}}",
            "messages": {cls.__name__: {"$ref": f"#/components/messages/{cls.__name__}"}},
            "parameters": {name: {"$ref": f"#/components/parameters/{name}"} for name in ("organisation", cls.tail)},
        }
        if cls.kind == "fact":
            operate(cls.owner, "send", cls)
            for service in messages.readers(cls):
                operate(service, "receive", cls)
        elif cls.kind == "order":
            for service in cls.senders:
                operate(service, "send", cls)
            operate(cls.owner, "receive", cls)
        else:
            reply: dict[str, Any] = {}
            if cls.answer:
                answer = cls.answer.__name__
                answers[answer] = {"$ref": f"#/components/messages/{answer}"}
                named[answer] = {
                    "name": answer,
                    "summary": sentence(cls.answer),
                    "contentType": "application/json",
                    "payload": keep(cls.answer),
                }
                told = [{"$ref": f"#/channels/reply/messages/{answer}"}]
                reply = {"reply": {"channel": {"$ref": "#/channels/reply"}, "messages": told}}
            for service in cls.askers:
                operate(service, "send", cls, **reply)
            for service in [cls.owner] if cls.owner in messages.services else messages.services:
                operate(service, "receive", cls, **reply)
    channels["reply"] = {
        "address": None,
        "description": "The inbox of whoever asked; the request names it.",
        "messages": dict(sorted(answers.items())),
    }
    document = {
        "asyncapi": "3.0.0",
        "info": {
            "title": "KIOPS",
            "version": __version__,
            "description": "What the seven services say to each other. Made by tools/document.py from the contract classes.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": dict(sorted(channels.items())),
        "operations": dict(sorted(operations.items())),
        "components": {
            "messages": dict(sorted(named.items())),
            "schemas": dict(sorted(schemas.items())),
            "parameters": {
                "organisation": {"description": "The organisation's id."},
                "service": {"description": "The service's id, `_` where there is none."},
                "runtime": {"description": "The runtime's id, so that each operator-proxy hears its own."},
                "asked": {"description": "The name of the service that is asked."},
                "asker": {"description": "The name of the service that asks; nobody else may publish there."},
                "intent": {"description": "The id of the wish that is answered."},
            },
        },
    }
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


CLOUD_EVENT = {
    "type": "object",
    "description": "CloudEvents 1.0 attributes in NATS headers; values are percent-encoded.",
    "required": ["ce-id", "ce-type", "ce-source", "ce-time", "ce-specversion"],
    "properties": {
        "ce-specversion": {"type": "string", "const": "1.0"},
        "ce-id": {"type": "string", "description": "Unique and ordered by time; also Nats-Msg-Id."},
        "ce-type": {"type": "string", "description": "kiops.<owner>.<noun>.<verb>"},
        "ce-source": {"type": "string", "description": "Who published it."},
        "ce-subject": {"type": "string", "description": "The service's id."},
        "ce-time": {"type": "string", "format": "date-time"},
        "ce-correlationid": {"type": "string", "description": "The run."},
        "ce-causationid": {"type": "string", "description": "The message that led to this one."},
        "traceparent": {"type": "string", "description": "W3C trace context."},
    },
}


def plain(schema: Any) -> Any:
    """Without the titles that pydantic makes of names, and with docstrings as one paragraph."""
    if isinstance(schema, list):
        return [plain(value) for value in schema]
    if not isinstance(schema, dict):
        return schema
    found = {}
    for name, value in schema.items():
        if name == "title" and isinstance(value, str):
            continue
        is_text = name == "description" and isinstance(value, str)
        found[name] = " ".join(value.split()) if is_text else plain(value)
    return found


# -- settings ----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def nobodys_environment() -> Iterator[None]:
    """Defaults as they are for somebody who has set nothing, with $KIOPS_HOME where its path would stand."""
    kept = dict(os.environ)
    prefixes = ("KIOPS_", "GATEWAY_", "WEBHOOK_", "BUILDER_", "SCANNER_", "GATE_", "DEPLOYER_", "OPERATOR_PROXY_", "DOCKER_")
    for name in kept:
        if name.startswith(prefixes):
            del os.environ[name]
    os.environ["KIOPS_HOME"] = "$KIOPS_HOME"
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(kept)


def settings_classes() -> list[tuple[str, Any]]:
    """(owner, class) of every class of settings."""
    from shared.settings import PlatformSettings, ServiceSettings

    from kiops import catalogue
    from kiops.settings import _command_line

    found: list[tuple[str, Any]] = [("platform", PlatformSettings), ("command line", _command_line())]
    for name in catalogue.NAMES:
        module = importlib.import_module(f"{catalogue.package(name)}.settings")
        for cls in vars(module).values():
            if isinstance(cls, type) and issubclass(cls, ServiceSettings) and cls.__module__ == module.__name__:
                found.append((name, cls))
    return found


def shown(value: Any) -> str:
    """A default as it would be written into a variable."""
    from pydantic import SecretStr

    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if value is None or value == "":
        return ""
    if isinstance(value, list):
        return "`" + json.dumps([str(one) for one in value]) + "`"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def settings() -> str:
    lines = [
        MADE,
        "# Settings",
        "",
        SETTINGS_INTRO,
        "",
    ]
    for owner, cls in settings_classes():
        prefix = cls.model_config.get("env_prefix", "")
        rows = []
        with nobodys_environment():
            for name, field in cls.model_fields.items():
                variable = f"{prefix}{name}".upper()
                default = shown(field.get_default(call_default_factory=True))
                if variable == "KIOPS_HOME":
                    default = "`~/.local/share/kiops`, or `kiops` below `$XDG_DATA_HOME`"
                rows.append((f"`{variable}`", default, field.description or ""))
        lines += [f"## {owner}", "", sentence(cls), "", *table(("variable", "default", "what"), rows), ""]
    return "\n".join(lines).rstrip() + "\n"


# -- commands ----------------------------------------------------------------------------------------------------------


def every_command() -> Iterator[tuple[str, Any]]:
    """(its words, the command) of every command that can be run, in the order of `kiops --help`."""
    import typer

    from kiops.app import app

    def walk(command: Any, words: str) -> Iterator[tuple[str, Any]]:
        inner = getattr(command, "commands", None)
        if inner is None:
            yield words, command
            return
        for name, below in inner.items():
            yield from walk(below, f"{words} {name}")

    yield from walk(typer.main.get_command(app), "kiops")


def parameter(one: Any) -> tuple[str, str, str]:
    """(how it is written, what it is, its default)."""
    is_option = one.param_type_name == "option"
    name = ", ".join(f"`{word}`" for word in one.opts) if is_option else f"`{one.name.upper()}`"
    if getattr(one, "required", False):
        return name, one.help or "", "needed"
    default = one.default
    if default in (None, "", False, ()) or callable(default):
        return name, one.help or "", ""
    return name, one.help or "", f"`{default}`"


def commands() -> str:
    lines = [
        MADE,
        "# Commands",
        "",
        COMMANDS_INTRO,
        "",
    ]
    for words, command in every_command():
        lines += [f"## `{words}`", "", sentence_of(command.help or ""), ""]
        rows = [parameter(one) for one in command.params if one.name != "help"]
        if rows:
            lines += [*table(("argument or option", "what", "default"), rows), ""]
    return "\n".join(lines).rstrip() + "\n"


def sentence_of(text: str) -> str:
    return " ".join(text.split())


def metrics() -> str:
    from shared.metrics import BUCKETS, JOB_BUCKETS, METRICS

    lines = [MADE, "# Metrics", "", METRICS_INTRO, ""]
    rows = []
    for metric in METRICS.values():
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        rows.append((f"`{metric.full}`", metric.kind, labels, metric.text))
    lines += [*table(("metric", "type", "labels besides `service`", "what"), rows), ""]
    for what, buckets in (("Requests and messages", BUCKETS), ("Jobs", JOB_BUCKETS)):
        lines.append(f"- {what}: buckets up to {', '.join(f'{bound:g}' for bound in buckets)} s.")
    return "\n".join(lines) + "\n"


DOCUMENTS: dict[str, Callable[[], str]] = {
    "events.md": lambda: Messages().text(),
    "asyncapi.json": asyncapi,
    "settings.md": settings,
    "commands.md": commands,
    "metrics.md": metrics,
}


def stale() -> list[str]:
    """Names of the documents that are not what the code says."""
    return [name for name, make in DOCUMENTS.items() if not (DOCS / name).exists() or (DOCS / name).read_text() != make()]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; say what is not up to date")
    if parser.parse_args().check:
        names = stale()
        print("\n".join(f"docs/{name} is not what the code says: run tools/document.py" for name in names) or "all up to date")
        return 1 if names else 0
    for name, make in DOCUMENTS.items():
        text = make()
        (DOCS / name).write_text(text)
        print(f"docs/{name}: {len(text.splitlines())} lines")
    return 0


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT / "src"))
    raise SystemExit(main())
