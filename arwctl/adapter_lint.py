"""What is wrong with an adapter manifest, and what in it is most likely not meant."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from arw_client import ArwError
from arwctl.adapter_manifest import AdapterManifest, Consent, Health, Metric, Resources

FORMS = {".toml": (tomllib.loads,), ".json": (json.loads,)}
TAG = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
METRIC = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
NETWORK = frozenset({"egress", "network", "net", "network_egress"})
MANY_THREADS = 128
LITTLE_MEMORY_MB = 512
FREQUENT_MS = 500


@dataclass(frozen=True, slots=True)
class Finding:
    field: str
    message: str


@dataclass(frozen=True, slots=True)
class Findings:
    errors: list[Finding] = field(default_factory=list)
    warnings: list[Finding] = field(default_factory=list)

    def document(self) -> dict[str, list[dict[str, str]]]:
        return {
            "errors": [{"field": one.field, "message": one.message} for one in self.errors],
            "warnings": [{"field": one.field, "message": one.message} for one in self.warnings],
        }


def read(path: Path) -> Any:
    """TOML or JSON by the name's ending; any other is tried as JSON, then as TOML. ArwError when it is neither."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ArwError("NOT_FOUND", f"{path} cannot be read: {error}.", "Name an adapter manifest.") from error
    faults = []
    for load in FORMS.get(path.suffix, (json.loads, tomllib.loads)):
        try:
            return load(text)
        except (ValueError, RecursionError) as error:
            faults.append(str(error))
    raise ArwError("MANIFEST_INVALID", f"{path} is no manifest: {'; '.join(faults)}.", "Write it as TOML or JSON.")


def check(data: Any) -> Findings:
    """Every error of a manifest; warnings once there is none."""
    if not isinstance(data, Mapping):
        return Findings([Finding("", "must be a table")])
    errors = list(_errors(data))
    if errors:
        return Findings(errors)
    found = msgspec.convert(data, AdapterManifest)
    return Findings([], list(_warnings(found)))


def _errors(data: Mapping[str, Any]) -> Iterator[Finding]:
    known = {one.name: one for one in msgspec.structs.fields(AdapterManifest)}
    for key in data:
        if key not in known:
            yield Finding(key, "is not known")
    for name, one in known.items():
        if name in data:
            yield from _errors_of(name, data[name], one.type)
        elif one.required:
            yield Finding(name, "is missing")


def _errors_of(name: str, value: Any, kind: Any) -> Iterator[Finding]:
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        text, _, where = str(error).partition(" - at ")
        inner = where.strip("`").removeprefix("$").removeprefix("key in ")
        yield Finding(f"{name}{inner}", text.replace("`", ""))


def _warnings(manifest: AdapterManifest) -> Iterator[Finding]:
    yield from _twice("modalities", manifest.modalities)
    yield from _twice("tags", manifest.tags)
    yield from _of_tags(manifest.tags)
    yield from _twice("metrics", [metric.name for metric in manifest.metrics])
    yield from _of_metrics(manifest.metrics)
    yield from _of_resources(manifest.resources, manifest.consent)
    yield from _of_health(manifest.health)
    if manifest.consent is not None:
        yield from _of_consent(manifest.consent)


def _twice(field: str, values: Sequence[str]) -> Iterator[Finding]:
    for value in dict.fromkeys(value for value in values if values.count(value) > 1):
        yield Finding(field, f"names {value!r} twice")


def _of_tags(tags: Sequence[str]) -> Iterator[Finding]:
    for index, tag in enumerate(tags):
        if not TAG.fullmatch(tag):
            yield Finding(f"tags[{index}]", f"{tag!r} is no lower-case word of at most 32 characters")


def _of_metrics(metrics: Sequence[Metric]) -> Iterator[Finding]:
    for index, metric in enumerate(metrics):
        if not METRIC.fullmatch(metric.name):
            yield Finding(f"metrics[{index}].name", f"{metric.name!r} is no name of a Prometheus metric")


def _of_resources(resources: Resources, consent: Consent | None) -> Iterator[Finding]:
    if (resources.recommended_cpu_threads or 0) > MANY_THREADS:
        yield Finding("resources.recommended_cpu_threads", f"is more than {MANY_THREADS}")
    if resources.recommended_memory_mb is not None and resources.recommended_memory_mb < LITTLE_MEMORY_MB:
        yield Finding("resources.recommended_memory_mb", f"is less than {LITTLE_MEMORY_MB}")
    if resources.requires_network and not NETWORK & set(consent.capabilities if consent else ()):
        yield Finding("resources.requires_network", "is set, and consent.capabilities names no network")


def _of_health(health: Health) -> Iterator[Finding]:
    if health.poll_interval_ms < FREQUENT_MS:
        yield Finding("health.poll_interval_ms", f"is less than {FREQUENT_MS}")
    if health.grace_period_ms < health.poll_interval_ms:
        yield Finding("health.grace_period_ms", "is less than poll_interval_ms")


def _of_consent(consent: Consent) -> Iterator[Finding]:
    if not consent.summary.strip():
        yield Finding("consent.summary", "is empty")
    if consent.details_url and not consent.details_url.startswith(("http://", "https://")):
        yield Finding("consent.details_url", "is no http or https address")
