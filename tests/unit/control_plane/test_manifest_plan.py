from __future__ import annotations

from dataclasses import replace

import pytest

from control_plane.domain.errors import ManifestInvalid
from control_plane.domain.ids import ModelId, NodeId
from control_plane.domain.manifest import ManifestForm
from control_plane.domain.manifest_plan import Action, FieldChange, PlannedRuntime
from control_plane.domain.runtime import DesiredState
from control_plane.manifests.reader import Reader
from control_plane.use_cases.apply_manifest import Applied, ApplyManifest
from control_plane.use_cases.create_model import NewModel
from control_plane.use_cases.place_runtimes import PlaceRuntimes
from control_plane.use_cases.plan_manifest import Plan, PlanManifest
from tests.fakes.control_plane import World, a_model, a_node, a_runtime

ENTRY = '[[runtimes]]\nid = "{name}"\nadapter = "llama.cpp"\nmodel = "tiny"\n'
BROUGHT = NewModel(ModelId("tiny"), "/models/tiny.gguf", "ab" * 32, 1024 * 1024)


def manifest(*names: str, more: str = "") -> str:
    return "version = 1\n" + "".join(ENTRY.format(name=name) + more for name in names)


@pytest.fixture
async def world() -> World:
    world = World()
    await world.has(a_model(), a_node())
    world.fleet.connect(NodeId("n1"))
    return world


async def plan(world: World, text: str, *, prune: bool = False, models: tuple[NewModel, ...] = ()) -> Plan:
    use_case = PlanManifest(world.store, world.fleet, world.clock, Reader(), world.circumstances)
    return await use_case(text.encode(), ManifestForm.TOML, "m.toml", prune=prune, models=models)


async def apply(world: World, text: str, *, prune: bool = False, validate_only: bool = False) -> Applied:
    use_case = ApplyManifest(world.store, world.fleet, world.clock, world.randomness, Reader())
    return await use_case(text.encode(), ManifestForm.TOML, "m.toml", prune=prune, validate_only=validate_only)


def actions(found: Plan) -> list[tuple[str, Action]]:
    return [(planned.id, planned.action) for planned in found.runtimes]


async def only(world: World, text: str) -> PlannedRuntime:
    (planned,) = (await plan(world, text)).runtimes
    return planned


async def test_a_plan_says_what_would_happen_and_changes_nothing(world: World) -> None:
    await apply(world, manifest("kept", "changed", "left"))
    revision, topics = await world.revision(), await world.topics()
    text = manifest("kept") + ENTRY.format(name="changed") + "auto_start = true\n" + ENTRY.format(name="new")
    found = await plan(world, text)
    assert actions(found) == [("kept", Action.NOTHING), ("changed", Action.CHANGE), ("new", Action.CREATE)]
    assert actions(await plan(world, text, prune=True))[-1] == ("left", Action.REMOVE)
    assert found.revision == revision
    assert (await world.revision(), await world.topics()) == (revision, topics)


async def test_a_change_is_told_field_by_field(world: World) -> None:
    await apply(world, manifest("a", more='settings.slots = 2\npreset = "slow"\n'))
    planned = await only(world, manifest("a", more="settings.slots = 4\nsettings.gpu_layers = 0\nauto_start = true\n"))
    assert planned.changes == (
        FieldChange("preset", "slow", None),
        FieldChange("settings.slots", 2, 4),
        FieldChange("auto_start", None, True),
        FieldChange("settings.gpu_layers", None, 0),
    )
    assert planned.before is not None
    assert planned.after is not None
    assert (planned.before.desired_state, planned.after.desired_state) == (DesiredState.STOPPED, DesiredState.RUNNING)


async def test_a_plan_places_as_the_placing_loop_does(world: World) -> None:
    await world.has(a_node("n2"), a_runtime("busy", "n1"))
    world.fleet.connect(NodeId("n2"))
    text = manifest("a", "b")
    planned = {row.id: row.node for row in (await plan(world, text)).runtimes}
    await apply(world, text)
    await PlaceRuntimes(world.store, world.mirror, world.fleet, world.clock)()
    assert planned == {name: (await world.runtime(name)).node for name in ("a", "b")}
    assert None not in planned.values()


async def test_a_plan_says_why_there_would_be_no_place(world: World) -> None:
    planned = await only(world, manifest("a", more='node_selector = { site = "berlin" }\n'))
    assert planned.node is None
    assert planned.problem is not None
    assert planned.problem.reason == "LABELS_UNMATCHED"


async def test_what_stays_as_it_is_stays_where_it_is(world: World) -> None:
    await apply(world, manifest("a"))
    await world.has(replace(await world.runtime("a"), node=NodeId("elsewhere")))
    assert (await only(world, manifest("a"))).node == "elsewhere"


async def test_models_that_would_be_registered_first_count_as_registered() -> None:
    world = World()
    with pytest.raises(ManifestInvalid, match="is not registered"):
        await plan(world, manifest("a"))
    (brought,) = (await plan(world, manifest("a"), models=(BROUGHT,))).models
    assert brought.action is Action.CREATE
    await world.has(a_model())
    (brought,) = (await plan(world, manifest("a"), models=(BROUGHT,))).models
    assert brought.action is Action.NOTHING
    (brought,) = (await plan(world, manifest("a"), models=(replace(BROUGHT, sha256="cd" * 32),))).models
    assert brought.action is Action.CHANGE


async def test_pruning_removes_what_came_from_the_same_manifest_alone(world: World) -> None:
    await world.has(a_runtime("hand", source="other.toml"))
    await apply(world, manifest("a", "b"))
    seen = await apply(world, manifest("a"), prune=True, validate_only=True)
    assert seen.removed == ("b",)
    applied = await apply(world, manifest("a"), prune=True)
    assert applied.removed == ("b",)
    assert [row.id for row in await world.store.read(lambda tx: tx.runtimes.all())] == ["a", "hand"]
    assert (await apply(world, manifest("a"), prune=True)).removed == ()
