"""Write the JSON Schemas beside this file from the shapes that read the documents; shared words come from proto/.

`--check` fails, naming the files, when what is committed is not what the shapes say.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from arw.v1 import accelerator_pb2, execution_pb2, runtime_pb2
from arwctl import adapter_manifest
from control_plane.domain import ids
from control_plane.manifests import read_settings
from control_plane.manifests import shapes as manifest_shapes
from node_agent.local_limits import shapes as owner_shapes

FOLDER = Path(__file__).resolve().parent
DIALECT = "https://json-schema.org/draft/2020-12/schema"
Node = dict[str, Any]


def slugs(enum: Any, prefix: str) -> list[str]:
    """As people write the values of an enum of the contract."""
    return [name.removeprefix(prefix).lower() for name, number in enum.items() if number]


MODALITIES = slugs(runtime_pb2.Modality, "MODALITY_")
MODES = slugs(execution_pb2.ExecutionMode, "EXECUTION_MODE_")
MISSING = slugs(runtime_pb2.MissingAccelerator, "MISSING_ACCELERATOR_")
ACCELERATORS = slugs(accelerator_pb2.AcceleratorKind, "ACCELERATOR_KIND_")

SHARED = {
    "Modality": MODALITIES,
    "MissingAccelerator": MISSING,
    "PlacementStrategy": slugs(runtime_pb2.PlacementStrategy, "PLACEMENT_STRATEGY_"),
    "modalities": MODALITIES,
    "modes": MODES,
    "preferred_mode": MODES,
    "default_mode": MODES,
}
"""By the name of a definition or a key."""


def runtime_manifest() -> Node:
    schema = msgspec.json.schema(manifest_shapes.Document)
    schema["$defs"]["RuntimeEntry"]["properties"]["accelerator"] = accelerators()
    for shape in ("RuntimeEntry", "ModelEntry"):
        schema["$defs"][shape]["properties"]["id"] |= {"pattern": f"^{ids.PATTERN}$", "maxLength": ids.MAX_LENGTH}
    return without_null(schema)


def runtime_profile() -> Node:
    schema = msgspec.json.schema(manifest_shapes.ProfileDocument)
    schema["$defs"]["ProfileDocument"]["properties"]["accelerator"] = accelerators()
    return without_null(schema)


def accelerators() -> Node:
    """With the short words for them."""
    return {"enum": ["", *ACCELERATORS, *sorted(set(read_settings.ACCELERATORS) - set(ACCELERATORS))]}


def node_agent() -> Node:
    return without_null(msgspec.json.schema(owner_shapes.Document))


DOCUMENTS: dict[str, tuple[str, Callable[[], Node]]] = {
    "runtime_manifest": ("What an operator declares: docs/manifests.md.", runtime_manifest),
    "runtime_profile": ("Intents under a name, which runtimes share: docs/profiles.md.", runtime_profile),
    "node_agent": ("What a machine's owner lets models do there: configs/node_agent.toml.", node_agent),
    "adapter_manifest": ("What a package says of the adapter that it brings.", adapter_manifest.schema),
}


def text(name: str) -> str:
    description, make = DOCUMENTS[name]
    made = make()
    for node in nodes(made):
        close(node)
    share(made)
    return json.dumps({"$schema": DIALECT, "title": name, "description": description, **made}, indent=2) + "\n"


def nodes(node: Any) -> Iterator[Node]:
    """Every table of a schema, the inner ones first."""
    if isinstance(node, dict):
        for part in list(node.values()):
            yield from nodes(part)
        yield node
    elif isinstance(node, list):
        for part in node:
            yield from nodes(part)


def close(node: Node) -> None:
    """Unknown keys are refused."""
    if node.get("type") == "object" and "properties" in node:
        node["additionalProperties"] = False
    if not node.get("required", True):
        del node["required"]


def without_null(schema: Node) -> Node:
    """TOML has none: what is not set is left out."""
    for node in nodes(schema):
        _drop_null(node)
    return schema


def _drop_null(node: Node) -> None:
    others = [part for part in node.get("anyOf", ()) if part != {"type": "null"}]
    if others and len(others) < len(node["anyOf"]):
        del node["anyOf"]
        node |= others[0] if len(others) == 1 else {"anyOf": others}
    if node.get("default", "") is None:
        del node["default"]


def share(schema: Node) -> None:
    """Put the contract's words where the shapes repeat them. SystemExit when they differ."""
    for node in nodes(schema):
        for name, part in node.items():
            if name in SHARED and isinstance(part, dict):
                _use(name, part.get("items", part))


def _use(name: str, part: Node) -> None:
    if "enum" not in part:
        return
    if set(part["enum"]) != set(SHARED[name]):
        raise SystemExit(f"{name}: the shapes say {part['enum']}, proto/ says {SHARED[name]}")
    part["enum"] = SHARED[name]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    files = {FOLDER / f"{name}.json": text(name) for name in DOCUMENTS}
    stale = [file for file, content in files.items() if not file.exists() or file.read_text() != content]
    for file in stale:
        if options.check:
            print(f"not what the shapes say: {file.name}; run `make schemas` and commit the result")
        else:
            file.write_text(files[file])
    return 1 if options.check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
