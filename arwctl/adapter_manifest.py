"""What a package says of the adapter that it brings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

ID = r"^[A-Za-z0-9._-]+$"
SEMVER = r"^\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$"

Text = Annotated[str, Meta(min_length=1)]
Positive = Annotated[int, Meta(ge=1)]
Modality = Literal["text", "audio", "vision", "pointer"]


class Entrypoint(Struct, frozen=True, forbid_unknown_fields=True):
    """What makes the adapter: a name in a Python module, as the entry point `arw.adapters` names it."""

    module: Text
    symbol: Text
    kind: str = ""


class Resources(Struct, frozen=True, forbid_unknown_fields=True):
    accelerator: str = ""
    recommended_memory_mb: Positive | None = None
    recommended_cpu_threads: Positive | None = None
    requires_network: bool = False


class Consent(Struct, frozen=True, forbid_unknown_fields=True):
    """What the people whose machine it runs on should agree to."""

    summary: str = ""
    details_url: str = ""
    capabilities: tuple[str, ...] = ()


class Metric(Struct, frozen=True, forbid_unknown_fields=True):
    name: Text
    description: str = ""
    unit: str = ""


class Health(Struct, frozen=True, forbid_unknown_fields=True):
    poll_interval_ms: Positive = 5000
    grace_period_ms: Positive = 15000
    status_endpoint: str = ""


class AdapterManifest(Struct, frozen=True, forbid_unknown_fields=True):
    id: Annotated[str, Meta(pattern=ID, max_length=64)]
    version: Annotated[str, Meta(pattern=SEMVER)]
    entrypoint: Entrypoint
    modalities: Annotated[tuple[Modality, ...], Meta(min_length=1)]
    name: str = ""
    description: str = ""
    tags: tuple[str, ...] = ()
    resources: Resources = Resources()
    consent: Consent | None = None
    metrics: tuple[Metric, ...] = ()
    health: Health = Health()
    metadata: Mapping[str, str] = {}


def schema() -> dict[str, Any]:
    """JSON Schema of a manifest."""
    return msgspec.json.schema(AdapterManifest)


def skeleton(id_: str, name: str) -> str:
    """A manifest to begin with."""
    module = "".join(letter if letter.isalnum() else "_" for letter in id_)
    return f"""\
id = {json.dumps(id_)}
version = "0.1.0"
name = {json.dumps(name)}
description = "What it runs, and for what."
modalities = ["text"]
tags = ["community"]

# The package declares the same under the entry point arw.adapters:
#   [project.entry-points."arw.adapters"]
#   {json.dumps(id_)} = "{module}.adapter:Adapter"
[entrypoint]
module = "{module}.adapter"
symbol = "Adapter"

[resources]
recommended_memory_mb = 2048
recommended_cpu_threads = 2
requires_network = false

[health]
poll_interval_ms = 15000
grace_period_ms = 60000
status_endpoint = "/health"
"""
