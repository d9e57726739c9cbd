from __future__ import annotations

import uuid
from dataclasses import replace

import pytest

from control_plane.domain.declaration import Outcome
from control_plane.domain.errors import InvalidArgument, ManifestInvalid, RequestIdReused
from control_plane.domain.ids import NodeId, RuntimeId, instance_name
from control_plane.domain.instance import InstanceState
from control_plane.domain.manifest import ManifestForm
from control_plane.domain.runtime import DesiredState
from control_plane.manifests.reader import Reader
from control_plane.use_cases.apply_manifest import Applied, ApplyManifest
from control_plane.use_cases.restore_runtime import RestoreRuntime
from control_plane.use_cases.rows import publish
from control_plane.use_cases.shutdown_runtime import ShutdownRuntime
from tests.fakes.control_plane import World, a_model, a_runtime

ENTRY = '[[runtimes]]\nid = "{name}"\nadapter = "llama.cpp"\nmodel = "tiny"\n'


def manifest(*names: str, more: str = "") -> str:
    return "version = 1\n" + "".join(ENTRY.format(name=name) + more for name in names)


@pytest.fixture
async def world() -> World:
    world = World()
    await world.has(a_model())
    return world


async def apply(world: World, text: str, *, validate_only: bool = False, request_id: str = "") -> Applied:
    use_case = ApplyManifest(world.store, world.fleet, world.clock, world.randomness, Reader())
    return await use_case(
        text.encode(), ManifestForm.TOML, "m.toml", validate_only=validate_only, request_id=request_id
    )


def outcomes(applied: Applied) -> list[Outcome]:
    return [row.outcome for row in applied.runtimes]


async def test_new_runtimes_are_declared_in_one_revision(world: World) -> None:
    before = await world.revision()
    applied = await apply(world, manifest("b", "a"))
    assert outcomes(applied) == [Outcome.CREATED, Outcome.CREATED]
    assert [row.view.runtime.id for row in applied.runtimes] == ["b", "a"]
    assert applied.revision == before + 1
    assert {row.view.runtime.revision for row in applied.runtimes} == {applied.revision}
    assert (await world.runtime("a")).source == "m.toml"


async def test_what_needs_no_model_is_placed_and_published_without_one(world: World) -> None:
    entry = '[[runtimes]]\nid = "a"\nadapter = "external"\nauto_start = true\n'
    applied = await apply(world, f'version = 1\n{entry}external = {{ url = "http://127.0.0.1:1" }}\n')
    assert outcomes(applied) == [Outcome.CREATED]
    row = replace(await world.runtime("a"), node=NodeId("n1"))
    await world.has(row)
    await world.store.write(lambda tx: publish(tx, row))
    (placed,) = await world.store.read(lambda tx: tx.desired.live(NodeId("n1")))
    assert placed.content is not None
    assert placed.content.model is None


async def test_the_same_manifest_again_changes_nothing(world: World) -> None:
    first = await apply(world, manifest("a"))
    topics = await world.topics()
    again = await apply(world, manifest("a"))
    assert outcomes(again) == [Outcome.UNCHANGED]
    assert again.revision == first.revision
    assert again.runtimes[0].view == first.runtimes[0].view
    assert await world.topics() == topics


async def test_auto_start_decides_what_a_new_runtime_is_wanted_to_do(world: World) -> None:
    await apply(world, manifest("off") + ENTRY.format(name="on") + "auto_start = true\n")
    assert (await world.runtime("off")).desired_state is DesiredState.STOPPED
    assert (await world.runtime("on")).desired_state is DesiredState.RUNNING
    requested = await world.events("runtime.restore.requested")
    assert [(event.payload["runtime"], event.payload["cause"]) for event in requested] == [("on", "manifest")]


async def test_a_changed_spec_is_a_new_generation_with_another_etag(world: World) -> None:
    first = (await apply(world, manifest("a"))).runtimes[0].view.runtime
    applied = await apply(world, manifest("a", more='preset = "quick"\n'))
    changed = applied.runtimes[0].view.runtime
    assert outcomes(applied) == [Outcome.UPDATED]
    assert (changed.generation, changed.uid) == (2, first.uid)
    assert changed.etag != first.etag
    assert changed.revision > first.revision


async def test_a_reload_starts_what_has_auto_start_again(world: World) -> None:
    await apply(world, manifest("a", more="auto_start = true\n"))
    await ShutdownRuntime(world.store, world.fleet, world.clock)(RuntimeId("a"))
    await apply(world, manifest("a", more="auto_start = true\n"))
    assert (await world.runtime("a")).desired_state is DesiredState.STOPPED, "an unchanged manifest undoes no shutdown"
    await apply(world, manifest("a", more='auto_start = true\npreset = "quick"\n'))
    assert (await world.runtime("a")).desired_state is DesiredState.RUNNING


async def test_a_reload_stops_on_the_change_of_auto_start_to_false(world: World) -> None:
    await apply(world, manifest("a", more="auto_start = true\n"))
    await apply(world, manifest("a"))
    assert (await world.runtime("a")).desired_state is DesiredState.STOPPED


async def test_a_reload_never_stops_what_an_operator_restored_by_hand(world: World) -> None:
    await apply(world, manifest("a"))
    await RestoreRuntime(world.store, world.fleet, world.clock)(RuntimeId("a"))
    await apply(world, manifest("a", more='preset = "quick"\n'))
    assert (await world.runtime("a")).desired_state is DesiredState.RUNNING


async def test_a_bad_entry_leaves_everything_as_it_was(world: World) -> None:
    before = await world.revision()
    with pytest.raises(ManifestInvalid):
        await apply(world, manifest("a") + ENTRY.format(name="b") + "foo = 1\n")
    assert await world.revision() == before
    assert await world.topics() == []


async def test_models_that_are_not_registered_are_named_with_their_lines(world: World) -> None:
    text = manifest("a", "b").replace('"tiny"', '"other"')
    for validate_only in (True, False):
        with pytest.raises(ManifestInvalid) as caught:
            await apply(world, text, validate_only=validate_only)
        assert caught.value.metadata["fault_1"] == "line 2: runtime a: model other is not registered"
        assert caught.value.metadata["fault_2"] == "line 6: runtime b: model other is not registered"
        assert "arwctl model add" in caught.value.remedy


async def test_a_check_only_changes_nothing_and_says_what_would_be(world: World) -> None:
    before = await world.revision()
    await apply(world, manifest("a"))
    applied = await apply(world, manifest("a", "b"), validate_only=True)
    assert outcomes(applied) == [Outcome.UNCHANGED, Outcome.CREATED]
    assert applied.revision == before + 1
    assert await world.store.read(lambda tx: tx.runtimes.get(RuntimeId("b"))) is None


async def test_a_repeated_request_gets_the_first_answer_and_does_nothing(world: World) -> None:
    request_id = str(uuid.uuid4())
    first = await apply(world, manifest("a"), request_id=request_id)
    await ShutdownRuntime(world.store, world.fleet, world.clock)(RuntimeId("a"))
    topics = await world.topics()
    again = await apply(world, manifest("a"), request_id=request_id)
    assert outcomes(again) == [Outcome.CREATED]
    assert again.revision == first.revision
    assert await world.topics() == topics


async def test_a_request_id_counts_for_one_request_only(world: World) -> None:
    request_id = str(uuid.uuid4())
    await apply(world, manifest("a"), request_id=request_id)
    with pytest.raises(RequestIdReused):
        await apply(world, manifest("b"), request_id=request_id)


async def test_a_request_id_must_be_a_uuid(world: World) -> None:
    with pytest.raises(InvalidArgument):
        await apply(world, manifest("a"), request_id="once")


async def test_a_changed_spec_reaches_its_node_in_the_same_change(world: World) -> None:
    await world.has(a_runtime("a", "n1"))
    applied = await apply(world, manifest("a", more='preset = "quick"\n'))
    rows = await world.store.read(lambda tx: tx.desired.live(NodeId("n1")))
    assert [(row.name, row.generation, row.revision) for row in rows] == [
        (instance_name(NodeId("n1"), RuntimeId("a")), 2, applied.revision)
    ]
    assert rows[0].content
    assert rows[0].content.runtime.spec.preset == "quick"
    assert rows[0].content.model
    assert rows[0].content.model.id == "tiny"
    assert applied.runtimes[0].view.state is InstanceState.UNKNOWN
