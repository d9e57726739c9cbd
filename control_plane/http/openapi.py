"""The OpenAPI documents, made from the paths and the shapes themselves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from control_plane.domain.ids import MAX_LENGTH
from control_plane.http import job_shapes, shapes
from control_plane.http.documents import Document
from control_plane.http.event_stream import PREFIXES
from control_plane.http.orders import KEY_HEADER, RESTORE_PATH, SHUTDOWN_PATH
from control_plane.http.problems import PROBLEM
from control_plane.use_cases.paging import MAX_SIZE

VERSION = "1"
COMPONENT = "#/components/schemas/{name}"
PUBLISHED = ("/openapi.json", "/asyncapi.json", "/runtime_supervisor.json")
_MAX_EVENT_ID = 10**18 - 1
_ABOUT = """\
Read models of one control plane and its journal of events. Each document carries a strong entity tag; `?watch=true`
makes a stream of JSON Patches of it, which the AsyncAPI document describes. What is empty is left out, and members may
join. `/v1/...` on the same port is the OpenAI-compatible gateway: it hands bodies to engines as they are."""
_REFUSALS = {
    "400": "A parameter is wrong",
    "401": "No token, or one that does not count any more",
    "503": "The database cannot be read now",
}

Json = dict[str, Any]


def openapi(title: str, documents: Iterable[Document], *, whole: bool = True) -> Json:
    """Of these documents alone, or of everything that the application answers."""
    listed = tuple(documents)
    paths = {document.path: {"get": _state(document)} for document in listed} | _orders()
    types: list[type[shapes.Shape]] = [shapes.Problem, *_ORDERED, *(document.shape for document in listed)]
    if whole:
        paths |= {"/events": {"get": _events()}, "/healthz": {"get": _health()}}
        paths |= {path: {"get": _published(path)} for path in PUBLISHED}
        types.append(shapes.Alive)
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": VERSION, "description": _ABOUT, "license": {"name": "Apache-2.0"}},
        "servers": [{"url": "http://127.0.0.1:8091", "description": "Loopback, in clear text; beyond it TLS"}],
        "security": [{"token": []}],
        "paths": paths,
        "components": {"schemas": components(types), "securitySchemes": {"token": TOKEN}},
    }


TOKEN: Json = {"type": "http", "scheme": "bearer", "description": "`token` of the context file: ID.SECRET"}


def components(types: Iterable[type[shapes.Shape]]) -> Json:
    """JSON Schemas (2020-12) of these types and all that they hold, by name."""
    _, schemas = msgspec.json.schema_components(types, ref_template=COMPONENT)
    plain: Json = msgspec.json.decode(msgspec.json.encode(schemas, order="sorted"))
    return plain


def ref(of: type[shapes.Shape]) -> Json:
    return {"$ref": COMPONENT.format(name=of.__name__)}


def _state(document: Document) -> Json:
    answer = {
        "description": document.summary,
        "headers": {"ETag": {"description": "Strong; a stream has none", "schema": {"type": "string"}}},
        "content": {"application/json": {"schema": ref(document.shape)}, "text/event-stream": _STREAM},
    }
    return {
        "operationId": document.id,
        "summary": document.summary,
        "parameters": [
            _query("watch", {"type": "boolean", "default": False}, "A stream of what changes", allowEmptyValue=True),
            _header("If-None-Match", "Entity tags of answers that the client has"),
            _header("Last-Event-ID", "With watch: the entity tag of what came last"),
        ],
        "responses": {"200": answer, "304": {"description": "Nothing but time has passed"}} | _refusals(),
    }


def _events() -> Json:
    number = {"type": "integer", "minimum": 0, "maximum": _MAX_EVENT_ID}
    prefixes = {"type": "array", "items": {"type": "string"}, "maxItems": PREFIXES}
    return {
        "operationId": "events",
        "summary": "The journal as it grows",
        "parameters": [
            _query("prefix", prefixes, "Only topics that begin so"),
            _query("replay", number | {"default": 0}, f"First so many of the newest, at most {MAX_SIZE}"),
            _query("after", number, "First all with a higher id"),
            _header("Last-Event-ID", "The id that came last; wins over `after`", number),
        ],
        "responses": {"200": {"description": "Events", "content": {"text/event-stream": _STREAM}}} | _refusals(),
    }


_ORDERED: tuple[type[shapes.Shape], ...] = (job_shapes.Restore, job_shapes.RestoreTaken, job_shapes.ShutdownTaken)


def _orders() -> Json:
    body = {"content": {"application/json": {"schema": ref(job_shapes.Restore)}}}
    again = _taken(job_shapes.RestoreTaken, "Not done: no automatic restart is left, and the budget is not reset")
    broken = _taken(job_shapes.RestoreTaken, "Not done; the job says why")
    restore = _order("restore", "Start a runtime that is stopped or failed", job_shapes.RestoreTaken)
    restore["responses"] |= {"429": again, "500": broken}
    shutdown = _order("shutdown", "Stop a runtime until it is restored", job_shapes.ShutdownTaken)
    return {RESTORE_PATH: {"post": restore | {"requestBody": body}}, SHUTDOWN_PATH: {"post": shutdown}}


def _order(name: str, text: str, answer: type[shapes.Shape]) -> Json:
    runtime = {"type": "string", "maxLength": MAX_LENGTH, "pattern": "^[a-z0-9][a-z0-9.-]*$"}
    named = {"name": "runtime", "in": "path", "required": True, "schema": runtime}
    refused = {"404": "There is no such runtime", "409": "The key stands for another order"}
    return {
        "operationId": name,
        "summary": text,
        "parameters": [
            named | {"description": 'Its id; "/" is written "__"'},
            _header(KEY_HEADER, "The id of the job: the same again is the same job", runtime),
        ],
        "responses": {"202": _taken(answer, "Taken; the job goes on")} | _refusals(_REFUSALS | refused),
    }


def _taken(shape: type[shapes.Shape], text: str) -> Json:
    return {"description": text, "content": {"application/json": {"schema": ref(shape)}}}


def _published(path: str) -> Json:
    content = {"application/json": {"schema": {"type": "object"}}}
    return {
        "operationId": f"published_{path.strip('/').removesuffix('.json')}",
        "summary": "A document about this port",
        "parameters": [_header("If-None-Match", "Entity tags of answers that the client has")],
        "responses": {"200": {"description": "The document", "content": content}, "304": {"description": "The same"}}
        | {"401": _refusals()["401"]},
    }


def _health() -> Json:
    content = {"application/json": {"schema": ref(shapes.Alive)}}
    return {
        "operationId": "healthz",
        "summary": "Whether the port answers; it tells nothing else",
        "security": [],
        "responses": {"200": {"description": "It does", "content": content}},
    }


_STREAM: Json = {
    "schema": {
        "type": "object",
        "description": "One server-sent event; what its data says is in the AsyncAPI document",
        "properties": {name: {"type": "string"} for name in ("id", "event", "data")},
        "required": ["event", "data"],
    }
}


def _refusals(told: Mapping[str, str] = _REFUSALS) -> Json:
    content = {PROBLEM: {"schema": ref(shapes.Problem)}}
    return {status: {"description": text, "content": content} for status, text in told.items()}


def _query(name: str, schema: Json, text: str, **more: bool) -> Json:
    return {"name": name, "in": "query", "description": text, "schema": schema} | more


def _header(name: str, text: str, schema: Json | None = None) -> Json:
    return {"name": name, "in": "header", "description": text, "schema": schema or {"type": "string"}}
