from __future__ import annotations

import importlib.util
import json
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arwctl import adapter_manifest
from tests.fakes.json_schema import faults, faults_of_schema
from tests.fakes.manifest_entries import ENTRIES

CONFIGS = Path(__file__).parents[2] / "configs"
NAMES = ("runtime_manifest", "runtime_profile", "node_agent", "adapter_manifest")
PROFILES = sorted((CONFIGS / "runtime" / "profiles").iterdir())
EXAMPLES = sorted((CONFIGS / "examples").rglob("*.toml"))
SMALL = {"version": 1, "runtimes": [{"id": "a", "adapter": "llama.cpp", "model": "tiny"}]}


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_schemas", CONFIGS / "schemas" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def schema(name: str) -> Any:
    return json.loads((CONFIGS / "schemas" / f"{name}.json").read_text())


def manifest(**more: Any) -> dict[str, Any]:
    return {"version": 1, "runtimes": [SMALL["runtimes"][0] | more]}  # type: ignore[index]


@pytest.mark.parametrize("name", NAMES)
def test_every_schema_is_what_the_shapes_say(name: str) -> None:
    committed = (CONFIGS / "schemas" / f"{name}.json").read_text()
    assert generator().text(name) == committed, "run `make schemas` and commit the result"


@pytest.mark.parametrize("name", NAMES)
def test_every_schema_is_a_schema(name: str) -> None:
    assert list(faults_of_schema(schema(name))) == []


def test_a_schema_for_each_document_and_no_other() -> None:
    assert {path.stem for path in (CONFIGS / "schemas").glob("*.json")} == set(NAMES)


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.name)
def test_every_shipped_manifest_follows_its_schema(file: Path) -> None:
    assert list(faults(schema("runtime_manifest"), tomllib.loads(file.read_text()))) == []


@pytest.mark.parametrize("file", PROFILES, ids=lambda file: file.stem)
def test_every_shipped_profile_follows_its_schema(file: Path) -> None:
    assert list(faults(schema("runtime_profile"), tomllib.loads(file.read_text()))) == []


def test_the_shipped_limits_of_an_owner_follow_their_schema() -> None:
    assert list(faults(schema("node_agent"), tomllib.loads((CONFIGS / "node_agent.toml").read_text()))) == []


def test_an_adapter_manifest_to_begin_with_follows_its_schema() -> None:
    assert list(faults(schema("adapter_manifest"), tomllib.loads(adapter_manifest.skeleton("acme.echo", "Echo")))) == []


@given(st.lists(ENTRIES, max_size=3))
def test_what_is_accepted_follows_the_schema(entries: list[dict[str, Any]]) -> None:
    rows = [{"id": f"r{number}", **entry} for number, entry in enumerate(entries)]
    assert list(faults(schema("runtime_manifest"), {"version": 1, "runtimes": rows})) == []


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        ({}, "$ lacks version"),
        (manifest(slot=2), "$.runtimes[0].slot is not known"),
        (manifest(id="A"), "$.runtimes[0].id does not match"),
        (manifest(settings={"slots": True}), "$.runtimes[0].settings.slots is no integer"),
        (manifest(settings={"slots": 0}), "$.runtimes[0].settings.slots is out of bounds"),
        (manifest(accelerator="tpu"), "$.runtimes[0].accelerator is 'tpu', none of"),
        (manifest(modalities=[]), "$.runtimes[0].modalities has 0"),
        (manifest(process=None), "$.runtimes[0].process is no object"),
        (manifest(tags={"": "x"}), "$.runtimes[0].tags key  has 0"),
    ],
)
def test_what_is_refused_does_not_follow_the_schema(said: dict[str, Any], fault: str) -> None:
    assert fault in next(faults(schema("runtime_manifest"), said))


def test_the_words_of_the_contract_are_those_of_the_schemas() -> None:
    made = generator()
    with pytest.raises(SystemExit, match="modes: the shapes say"):
        made.share({"properties": {"modes": {"type": "array", "items": {"enum": ["native", "vm"]}}}})
