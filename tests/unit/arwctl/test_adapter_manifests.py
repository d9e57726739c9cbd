"""Manifests of adapters that packages bring."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from arw_client import ArwError
from arwctl.adapter_lint import check, read
from arwctl.adapter_manifest import schema, skeleton
from tests.unit.arwctl.conftest import Arwctl

SOUND = {
    "id": "acme.echo",
    "version": "1.0.0-rc.1+a",
    "modalities": ["text"],
    "entrypoint": {"module": "acme.adapter", "symbol": "Adapter"},
}


def with_(path: str, value: Any) -> dict[str, Any]:
    """SOUND with one dotted place changed."""
    changed: dict[str, Any] = json.loads(json.dumps(SOUND))
    place, steps = changed, path.split(".")
    for step in steps[:-1]:
        place = place.setdefault(step, {})
    place[steps[-1]] = value
    return changed


def test_what_init_writes_is_without_fault() -> None:
    found = check(tomllib.loads(skeleton("acme.echo", 'Echo "one"')))
    assert (found.errors, found.warnings) == ([], [])


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        ("id", "a b", "id"),
        ("id", "", "id"),
        ("version", "1.0", "version"),
        ("entrypoint.symbol", "", "entrypoint.symbol"),
        ("entrypoint.extra", "x", "entrypoint"),
        ("modalities", [], "modalities"),
        ("modalities", ["smell"], "modalities[0]"),
        ("resources.recommended_cpu_threads", 0, "resources.recommended_cpu_threads"),
        ("resources.recommended_memory_mb", 0, "resources.recommended_memory_mb"),
        ("metrics", [{"name": ""}], "metrics[0].name"),
        ("colour", "red", "colour"),
    ],
)
def test_each_error_names_its_field(path: str, value: Any, field: str) -> None:
    assert [one.field for one in check(with_(path, value)).errors] == [field]


def test_every_error_is_named_at_once() -> None:
    fields = [one.field for one in check({"id": "a b", "colour": 1}).errors]
    assert fields == ["colour", "id", "version", "entrypoint", "modalities"]
    assert check([]).errors[0].message == "must be a table"


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        ("modalities", ["text", "text"], "modalities"),
        ("tags", ["Big"], "tags[0]"),
        ("tags", ["a", "a"], "tags"),
        ("metrics", [{"name": "a b"}], "metrics[0].name"),
        ("resources.recommended_cpu_threads", 129, "resources.recommended_cpu_threads"),
        ("resources.recommended_memory_mb", 511, "resources.recommended_memory_mb"),
        ("resources.requires_network", True, "resources.requires_network"),
        ("health.poll_interval_ms", 499, "health.poll_interval_ms"),
        ("health.grace_period_ms", 4999, "health.grace_period_ms"),
        ("consent", {"summary": " "}, "consent.summary"),
        ("consent", {"summary": "s", "details_url": "ftp://x"}, "consent.details_url"),
    ],
)
def test_what_is_most_likely_not_meant_is_a_warning(path: str, value: Any, field: str) -> None:
    found = check(with_(path, value))
    assert (found.errors, [one.field for one in found.warnings]) == ([], [field])


@pytest.mark.parametrize("capability", ["egress", "network", "net", "network_egress"])
def test_a_network_that_was_consented_to_is_no_warning(capability: str) -> None:
    manifest = with_("resources.requires_network", True)
    manifest["consent"] = {"summary": "It fetches voices.", "capabilities": [capability]}
    assert check(manifest).warnings == []


def test_the_form_is_known_by_its_ending_else_tried(tmp_path: Path) -> None:
    for name, text in (("a.json", '{"a": 1}'), ("a.toml", "a = 1"), ("a.txt", "a = 1"), ("b.txt", '{"a": 1}')):
        (tmp_path / name).write_text(text)
        assert read(tmp_path / name) == {"a": 1}
    (tmp_path / "a.json").write_text("a = 1")
    for name in ("a.json", "nowhere.toml"):
        with pytest.raises(ArwError) as caught:
            read(tmp_path / name)
        assert caught.value.remedy


def test_the_schema_lets_nothing_unknown_pass() -> None:
    shapes = schema()["$defs"]
    assert shapes["AdapterManifest"]["required"] == ["id", "version", "entrypoint", "modalities"]
    assert all(shape["additionalProperties"] is False for shape in shapes.values())


async def test_init_then_lint(run: Arwctl, tmp_path: Path) -> None:
    file = tmp_path / "adapter.toml"
    words = ("runtime", "adapters")
    assert (await run(*words, "init", "--id", "acme.echo", "--name", "Echo", "--out", file)).code == 0
    assert (await run(*words, "init", "--id", "acme.echo", "--name", "Echo", "--out", file)).code == 1
    assert (await run(*words, "init", "--id", "a b", "--name", "Echo")).code == 1
    assert (await run(*words, "lint", file)).out == f"{file}: 0 errors, 0 warnings\n"
    file.write_text(skeleton("acme.echo", "Echo").replace('["community"]', '["A"]'))
    warned = await run(*words, "lint", file, "--json")
    assert (warned.code, json.loads(warned.out)["warnings"][0]["field"]) == (0, "tags[0]")
    assert (await run(*words, "lint", file, "--strict-warnings")).code == 1


async def test_the_agents_own_adapters_are_listed(run: Arwctl, tmp_path: Path) -> None:
    said = await run("runtime", "adapters", "list", "--output", "json", "--state-dir", tmp_path / "none")
    found = {one["id"]: one for one in json.loads(said.out)}
    assert {"external", "llama.cpp", "process"} <= found.keys()
    assert (found["external"]["managed"], found["llama.cpp"]["managed"]) == (False, True)
    assert not (tmp_path / "none").exists()
