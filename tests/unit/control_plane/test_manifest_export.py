from __future__ import annotations

import functools
import json
import operator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.domain import manifest_entry
from control_plane.domain.declaration import Outcome
from control_plane.domain.errors import InvalidArgument, NotFound
from control_plane.domain.ids import RuntimeId
from control_plane.domain.manifest import Manifest, ManifestForm
from control_plane.domain.runtime import ExternalSettings, ProcessSettings, RuntimeSpec
from control_plane.manifests import shapes
from control_plane.manifests.reader import Reader
from control_plane.manifests.writer import Writer
from control_plane.use_cases.apply_manifest import ApplyManifest
from control_plane.use_cases.export_manifest import ExportManifest
from tests.fakes.control_plane import World, a_model, a_runtime
from tests.fakes.manifest_entries import ENTRIES

FORMS = list(ManifestForm)


def manifest(entries: list[dict[str, Any]]) -> bytes:
    rows = [{"id": f"r{number}", **entry} for number, entry in enumerate(entries)]
    return json.dumps({"version": 1, "runtimes": rows}).encode()


def read(content: bytes, form: ManifestForm) -> Manifest:
    return Reader().read(content, form, "m")


@pytest.mark.parametrize("form", FORMS)
@given(entries=st.lists(ENTRIES, max_size=3))
def test_what_is_written_is_read_as_the_same(form: ManifestForm, entries: list[dict[str, Any]]) -> None:
    declared = read(manifest(entries), ManifestForm.JSON).runtimes
    again = read(Writer().written(declared, form), form).runtimes
    assert [(row.id, row.spec) for row in again] == [(row.id, row.spec) for row in declared]


@pytest.mark.parametrize("form", FORMS)
@given(entries=st.lists(ENTRIES, max_size=3))
async def test_applying_an_export_changes_nothing(form: ManifestForm, entries: list[dict[str, Any]]) -> None:
    world = World()
    await world.has(a_model(), a_model("tiny/q4"))
    apply = ApplyManifest(world.store, world.fleet, world.clock, world.randomness, Reader())
    await apply(manifest(entries), ManifestForm.JSON, "m.json")
    revision, topics = await world.revision(), await world.topics()
    exported = await ExportManifest(world.store, Writer())([], form)
    again = await apply(exported, form, "exported")
    assert {row.outcome for row in again.runtimes} <= {Outcome.UNCHANGED}
    assert len(again.runtimes) == sum(entry.get("replicas", 1) for entry in entries)
    assert (await world.revision(), await world.topics()) == (revision, topics)


@pytest.mark.parametrize(
    ("path", "shape"),
    [
        ((), shapes.RuntimeEntry),
        (("settings",), shapes.Settings),
        (("restart",), shapes.Restart),
        (("process",), shapes.Process),
        (("process", "health"), shapes.Health),
        (("external",), shapes.External),
    ],
)
def test_every_key_that_is_read_can_be_written(path: tuple[str, ...], shape: type[msgspec.Struct]) -> None:
    spec = RuntimeSpec("", process=ProcessSettings(()), external=ExternalSettings(""))
    said = functools.reduce(operator.getitem, path, manifest_entry._whole(RuntimeId("a"), spec))
    assert set(said) == {field.name for field in msgspec.structs.fields(shape)}


async def test_an_export_says_only_what_is_no_default() -> None:
    world = World()
    await world.has(a_runtime("b"), a_runtime("a"))
    content = await ExportManifest(world.store, Writer())([RuntimeId("b")], ManifestForm.TOML)
    assert content.decode() == 'version = 1\n\n[[runtimes]]\nid = "b"\nadapter = "llama.cpp"\nmodel = "tiny"\n'


async def test_what_is_not_there_cannot_be_exported() -> None:
    with pytest.raises(NotFound):
        await ExportManifest(World().store, Writer())([RuntimeId("nobody")], ManifestForm.TOML)


async def test_more_than_a_manifest_may_hold_is_not_exported() -> None:
    world = World()
    await world.has(*(a_runtime(f"r{number}") for number in range(1001)))
    with pytest.raises(InvalidArgument, match="at most 1000"):
        await ExportManifest(world.store, Writer())([], ManifestForm.TOML)
