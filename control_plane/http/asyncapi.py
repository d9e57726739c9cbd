"""The AsyncAPI document of every stream of this port, made from topics and shapes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from control_plane.http import shapes
from control_plane.http.documents import DOCUMENTS, Document
from control_plane.http.openapi import TOKEN, VERSION, components, ref
from control_plane.http.topics import TOPICS, Topic

_ABOUT = """\
Server-sent events. `/events` is the journal: rows come at least once, in the order of their ids; `Last-Event-ID` or
`after` resumes, `prefix` chooses topics, `replay` begins in the past. `/state/...?watch=true` is one read model: a
snapshot, then RFC 6902 patches; the id of each is the entity tag of the document, and `Last-Event-ID` resumes from it
while the server still has it, else a snapshot comes. Lines that begin with a colon are heartbeats."""

Json = dict[str, Any]


def asyncapi() -> Json:
    types = [document.shape for document in DOCUMENTS]
    payloads = [topic.payload for topic in TOPICS]
    own: list[type[shapes.Shape]] = [shapes.Connected, shapes.Following, shapes.Event, shapes.Patch, shapes.Problem]
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "ARW events", "version": VERSION, "description": _ABOUT, "license": {"name": "Apache-2.0"}},
        "defaultContentType": "application/json",
        "servers": {
            "loopback": {
                "host": "127.0.0.1:8091",
                "protocol": "http",
                "security": [{"$ref": "#/components/securitySchemes/token"}],
            }
        },
        "channels": {"events": _journal()} | {document.id: _followed(document) for document in DOCUMENTS},
        "operations": {"events": _sent("events", _CHOOSING)}
        | {document.id: _sent(document.id, _WATCHING) for document in DOCUMENTS},
        "components": {"schemas": components([*own, *types, *payloads]), "securitySchemes": {"token": TOKEN}},
    }


def _journal() -> Json:
    greeting = _message("service.connected", "Opens the stream", ref(shapes.Connected))
    return {
        "address": "/events",
        "description": "The journal as it grows",
        "messages": _by_name([greeting, _REFUSED, *(_row(topic) for topic in TOPICS)]),
    }


def _followed(document: Document) -> Json:
    snapshot = {
        "type": "object",
        "properties": {"id": {"const": document.id}, "document": ref(document.shape)},
        "required": ["id", "document"],
    }
    return {
        "address": document.path,
        "description": document.summary,
        "messages": _by_name(
            [
                _message("service.connected", "Opens the stream", ref(shapes.Following)),
                _REFUSED,
                _message("state.read.model.snapshot", "The whole document", snapshot),
                _message("state.read.model.patch", "What changed since", ref(shapes.Patch)),
            ]
        ),
    }


def _sent(channel: str, query: Json) -> Json:
    http = {"method": "GET", "query": query, "bindingVersion": "0.3.0"}
    return {"action": "send", "channel": {"$ref": f"#/channels/{channel}"}, "bindings": {"http": http}}


def _row(topic: Topic) -> Json:
    payload = {"properties": {"kind": {"const": topic.kind}, "payload": ref(topic.payload)}}
    return _message(topic.kind, topic.summary, {"allOf": [ref(shapes.Event), payload]})


def _message(name: str, summary: str, payload: Json) -> Json:
    return {"name": name, "summary": summary, "payload": payload}


_REFUSED = _message(
    "service.refused", "Ends the stream: the token no longer counts, or nothing can be read", ref(shapes.Problem)
)

_NUMBER: Json = {"type": "integer", "minimum": 0}
_CHOOSING: Json = {
    "type": "object",
    "properties": {"prefix": {"type": "array", "items": {"type": "string"}}, "replay": _NUMBER, "after": _NUMBER},
}
_WATCHING: Json = {"type": "object", "properties": {"watch": {"const": True}}, "required": ["watch"]}


def _by_name(messages: Iterable[Json]) -> Json:
    return {message["name"].replace(".", "_"): message for message in messages}
