"""As much of JSON Schema 2020-12 as this project's schemas use; a keyword beyond that is an error of the schema."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

TYPES: Mapping[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
    "null": type(None),
}
COUNTS = ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties")
BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
TEXTS = ("$schema", "$ref", "title", "description", "pattern", "type")
KEYWORDS = {
    *COUNTS,
    *BOUNDS,
    *TEXTS,
    *("$defs", "properties", "items", "propertyNames", "additionalProperties", "anyOf", "required", "enum", "default"),
}


def faults_of_schema(schema: Any, root: Any = None) -> Iterator[str]:
    """What the meta-schema of 2020-12 would refuse, and references to nowhere."""
    root = schema if root is None else root
    if isinstance(schema, bool):
        return
    yield from (f"unknown keyword {key}" for key in schema.keys() - KEYWORDS)
    yield from (f"{key} is no text" for key in TEXTS if not isinstance(schema.get(key, ""), str))
    yield from (f"{key} is no count" for key in COUNTS if not _is_number(schema.get(key, 0)) or schema.get(key, 0) < 0)
    yield from (f"{key} is no number" for key in BOUNDS if not _is_number(schema.get(key, 0)))
    if schema.get("type", "object") not in TYPES:
        yield f"unknown type {schema['type']}"
    if "$ref" in schema and schema["$ref"].removeprefix("#/$defs/") not in root.get("$defs", {}):
        yield f"{schema['$ref']} is nowhere"
    if not _are_distinct(schema.get("required", ())) or not _are_distinct(schema.get("enum", ("",))):
        yield "required or enum holds one twice"
    re.compile(schema.get("pattern", ""))
    for part in _parts(schema):
        yield from faults_of_schema(part, root)


def faults(schema: Any, value: Any, root: Any = None, path: str = "$") -> Iterator[str]:
    """Why a value does not follow a schema."""
    root = schema if root is None else root
    if isinstance(schema, bool):
        yield from () if schema else (f"{path} is not known",)
        return
    if "$ref" in schema:
        yield from faults(root["$defs"][schema["$ref"].removeprefix("#/$defs/")], value, root, path)
    if "anyOf" in schema and all(any(faults(part, value, root, path)) for part in schema["anyOf"]):
        yield f"{path} is none of several"
    if "enum" in schema and value not in schema["enum"]:
        yield f"{path} is {value!r}, none of {schema['enum']}"
    kind = schema.get("type")
    if kind and (not isinstance(value, TYPES[kind]) or (isinstance(value, bool) and kind != "boolean")):
        yield f"{path} is no {kind}"
    else:
        yield from _faults_inside(schema, value, root, path)


def _faults_inside(schema: Any, value: Any, root: Any, path: str) -> Iterator[str]:
    match value:
        case str():
            yield from _faults_of_text(schema, value, path)
        case dict():
            yield from _faults_of_table(schema, value, root, path)
        case list():
            yield from _faults_of_count(schema, len(value), "Items", path)
            for index, item in enumerate(value):
                yield from faults(schema.get("items", True), item, root, f"{path}[{index}]")
        case int() | float() if not schema.get("minimum", value) <= value <= schema.get("maximum", value):
            yield f"{path} is out of bounds"


def _faults_of_text(schema: Any, value: str, path: str) -> Iterator[str]:
    yield from _faults_of_count(schema, len(value), "Length", path)
    if not re.search(schema.get("pattern", ""), value):
        yield f"{path} does not match {schema['pattern']}"


def _faults_of_table(schema: Any, value: dict[str, Any], root: Any, path: str) -> Iterator[str]:
    known = schema.get("properties", {})
    yield from _faults_of_count(schema, len(value), "Properties", path)
    yield from (f"{path} lacks {name}" for name in schema.get("required", ()) if name not in value)
    for key, part in value.items():
        yield from faults(schema.get("propertyNames", True), key, root, f"{path} key {key}")
        yield from faults(known.get(key, schema.get("additionalProperties", True)), part, root, f"{path}.{key}")


def _faults_of_count(schema: Any, count: int, what: str, path: str) -> Iterator[str]:
    if not schema.get(f"min{what}", count) <= count <= schema.get(f"max{what}", count):
        yield f"{path} has {count}"


def _parts(schema: Mapping[str, Any]) -> Iterator[Any]:
    for key in ("$defs", "properties"):
        yield from schema.get(key, {}).values()
    yield from (schema[key] for key in ("items", "propertyNames", "additionalProperties") if key in schema)
    yield from schema.get("anyOf", ())


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _are_distinct(values: Sequence[Any]) -> bool:
    return len(set(values)) == len(values)
