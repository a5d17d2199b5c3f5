"""BuildKit's messages, as far as this client speaks them.

Field numbers and names of a wire protocol are facts; this table holds the ones in use and protobuf's own runtime turns
it into classes when the module is imported. A table instead of generated code, because generated code refuses a
protobuf of another major version and needs a compiler that a fresh machine does not have. Unknown fields are skipped
by protobuf itself, so a newer engine may say more than is written here.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, timestamp_pb2

PACKAGE = "kiops.buildkit"
STRING_MAP = "map<string, string>"

# message -> field -> (number, type); a leading * repeats, a capital letter names another message of this table.
TABLE: dict[str, dict[str, tuple[int, str]]] = {
    # moby.buildkit.v1.Control
    "SolveRequest": {
        "Ref": (1, "string"),
        "Exporter": (3, "string"),
        "ExporterAttrs": (4, STRING_MAP),
        "Session": (5, "string"),
        "Frontend": (6, "string"),
        "FrontendAttrs": (7, STRING_MAP),
        "Cache": (8, "CacheOptions"),
    },
    "CacheOptions": {"Exports": (4, "*CacheEntry"), "Imports": (5, "*CacheEntry")},
    "CacheEntry": {"Type": (1, "string"), "Attrs": (2, STRING_MAP)},
    "SolveResponse": {"ExporterResponse": (1, STRING_MAP)},
    "StatusRequest": {"Ref": (1, "string")},
    "StatusResponse": {
        "vertexes": (1, "*Vertex"),
        "statuses": (2, "*VertexStatus"),
        "logs": (3, "*VertexLog"),
        "warnings": (4, "*VertexWarning"),
    },
    "Vertex": {
        "digest": (1, "string"),
        "inputs": (2, "*string"),
        "name": (3, "string"),
        "cached": (4, "bool"),
        "started": (5, "Timestamp"),
        "completed": (6, "Timestamp"),
        "error": (7, "string"),
    },
    "VertexStatus": {
        "ID": (1, "string"),
        "vertex": (2, "string"),
        "name": (3, "string"),
        "current": (4, "int64"),
        "total": (5, "int64"),
    },
    "VertexLog": {"vertex": (1, "string"), "stream": (3, "int64"), "msg": (4, "bytes")},
    "VertexWarning": {
        "vertex": (1, "string"),
        "level": (2, "int64"),
        "short": (3, "bytes"),
        "detail": (4, "*bytes"),
        "url": (5, "string"),
    },
    "ListWorkersRequest": {"filter": (1, "*string")},
    "ListWorkersResponse": {"record": (1, "*WorkerRecord")},
    "WorkerRecord": {"ID": (1, "string"), "Labels": (2, STRING_MAP)},
    # what the engine asks of our side of the session
    "BytesMessage": {"data": (1, "bytes")},
    "HealthCheckRequest": {"service": (1, "string")},
    "HealthCheckResponse": {"status": (1, "int32")},
    "CredentialsRequest": {"Host": (1, "string")},
    "CredentialsResponse": {"Username": (1, "string"), "Secret": (2, "string")},
    "GetSecretRequest": {"ID": (1, "string"), "annotations": (2, STRING_MAP)},
    "GetSecretResponse": {"data": (1, "bytes")},
}

_Field = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    "string": _Field.TYPE_STRING,
    "bytes": _Field.TYPE_BYTES,
    "bool": _Field.TYPE_BOOL,
    "int32": _Field.TYPE_INT32,
    "int64": _Field.TYPE_INT64,
}


def _describe(message: Any, name: str, number: int, kind: str) -> None:
    """Add one field to a message's description; a map is a repeated entry message, as protobuf has it."""
    field = message.field.add(name=name, number=number, label=_Field.LABEL_OPTIONAL)
    if kind == STRING_MAP:
        entry = message.nested_type.add(name=f"{name[0].upper()}{name[1:]}Entry")
        entry.options.map_entry = True
        _describe(entry, "key", 1, "string")
        _describe(entry, "value", 2, "string")
        field.label, field.type = _Field.LABEL_REPEATED, _Field.TYPE_MESSAGE
        field.type_name = f".{PACKAGE}.{message.name}.{entry.name}"
        return
    if kind.startswith("*"):
        field.label, kind = _Field.LABEL_REPEATED, kind[1:]
    if kind in _SCALARS:
        field.type = _SCALARS[kind]
        return
    field.type = _Field.TYPE_MESSAGE
    field.type_name = ".google.protobuf.Timestamp" if kind == "Timestamp" else f".{PACKAGE}.{kind}"


def _classes() -> dict[str, Any]:
    """Turn the table into message classes, in a pool of its own."""
    file = descriptor_pb2.FileDescriptorProto(name="kiops/buildkit.proto", package=PACKAGE, syntax="proto3")
    file.dependency.append(timestamp_pb2.DESCRIPTOR.name)
    for name, fields in TABLE.items():
        message = file.message_type.add(name=name)
        for field, (number, kind) in fields.items():
            _describe(message, field, number, kind)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(timestamp_pb2.DESCRIPTOR.serialized_pb)
    pool.AddSerializedFile(file.SerializeToString())
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{name}")) for name in TABLE}


_built = _classes()
SolveRequest = _built["SolveRequest"]
SolveResponse = _built["SolveResponse"]
StatusRequest = _built["StatusRequest"]
StatusResponse = _built["StatusResponse"]
ListWorkersRequest = _built["ListWorkersRequest"]
ListWorkersResponse = _built["ListWorkersResponse"]
BytesMessage = _built["BytesMessage"]
HealthCheckRequest = _built["HealthCheckRequest"]
HealthCheckResponse = _built["HealthCheckResponse"]
CredentialsRequest = _built["CredentialsRequest"]
CredentialsResponse = _built["CredentialsResponse"]
GetSecretRequest = _built["GetSecretRequest"]
GetSecretResponse = _built["GetSecretResponse"]
