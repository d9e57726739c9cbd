"""A head and its replicas through every change that may be asked of them."""

from __future__ import annotations

import uuid
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.domain.declaration import Outcome
from control_plane.domain.errors import EtagMismatch, InvalidArgument, ManifestInvalid, NotFound, RestartBudgetExhausted
from control_plane.domain.ids import NodeId, RuntimeId
from control_plane.domain.instance import InstanceState
from control_plane.domain.jobs.job import JobKind
from control_plane.domain.manifest import ManifestForm
from control_plane.domain.manifest_plan import Action, FieldChange
from control_plane.domain.runtime_set import replica_ids
from control_plane.manifests.reader import Reader
from control_plane.manifests.writer import Writer
from control_plane.use_cases.apply_manifest import Applied, ApplyManifest
from control_plane.use_cases.boot_runtimes import BootRuntimes
from control_plane.use_cases.delete_runtime import DeleteRuntime
from control_plane.use_cases.export_manifest import ExportManifest
from control_plane.use_cases.get_manifests import GetManifests
from control_plane.use_cases.place_runtimes import PlaceRuntimes
from control_plane.use_cases.plan_manifest import Plan, PlanManifest
from control_plane.use_cases.restore_runtime import RestoreRuntime
from control_plane.use_cases.scale_runtime import ScaleRuntime
from control_plane.use_cases.shutdown_runtime import ShutdownRuntime
from tests.fakes.control_plane import World, a_budget, a_model, a_node, a_runtime, a_spec, an_instance
from tests.fakes.jobs import Workshop, an_order

CHAT = RuntimeId("chat")
SECOND = RuntimeId("chat.2")


def manifest(replicas: int = 3, *others: str, more: str = "auto_start = true\n") -> str:
    entry = '[[runtimes]]\nid = "{}"\nadapter = "llama.cpp"\nmodel = "tiny"\n'
    chat = f"{entry.format('chat')}replicas = {replicas}\n{more}"
    return "version = 1\n" + chat + "".join(entry.format(other) for other in others)


@pytest.fixture
async def world() -> World:
    world = World()
    await world.has(a_model(), *(a_node(name) for name in ("n1", "n2", "n3")))
    for name in ("n1", "n2", "n3"):
        world.fleet.connect(NodeId(name))
    return world


async def apply(world: World, text: str, *, prune: bool = False, validate_only: bool = False) -> Applied:
    use_case = ApplyManifest(world.store, world.fleet, world.clock, world.randomness, Reader())
    return await use_case(text.encode(), ManifestForm.TOML, "m.toml", prune=prune, validate_only=validate_only)


async def plan(world: World, text: str, *, prune: bool = False) -> Plan:
    use_case = PlanManifest(world.store, world.fleet, world.clock, Reader(), world.circumstances)
    return await use_case(text.encode(), ManifestForm.TOML, "m.toml", prune=prune)


async def place(world: World) -> None:
    await PlaceRuntimes(world.store, world.mirror, world.fleet, world.clock)()


def scale(world: World) -> ScaleRuntime:
    return ScaleRuntime(world.store, world.fleet, world.clock)


def shutdown(world: World) -> ShutdownRuntime:
    return ShutdownRuntime(world.store, world.fleet, world.clock)


def restore(world: World) -> RestoreRuntime:
    return RestoreRuntime(world.store, world.fleet, world.clock)


async def states(world: World) -> dict[str, str]:
    rows = await world.store.read(lambda tx: tx.runtimes.all())
    return {row.id: row.desired_state.value for row in rows}


def outcomes(applied: Applied) -> dict[str, str]:
    return {each.view.runtime.id: each.outcome.value for each in applied.runtimes}


async def test_an_entry_with_replicas_is_so_many_rows_that_follow_one(world: World) -> None:
    assert set(outcomes(await apply(world, manifest())).values()) == {"created"}
    await place(world)
    rows = [await world.runtime(name) for name in ("chat", "chat.2", "chat.3")]
    assert [row.node for row in rows] == ["n1", "n2", "n3"]
    assert [row.replica_of for row in rows] == [None, "chat", "chat"]
    assert [row.spec.replicas for row in rows] == [3, 1, 1]
    assert len({row.uid for row in rows}) == 3
    assert {row.source for row in rows} == {"m.toml"}
    assert await states(world) == dict.fromkeys(("chat", "chat.2", "chat.3"), "running")


async def test_the_same_manifest_again_changes_nothing(world: World) -> None:
    await apply(world, manifest())
    await place(world)
    revision = await world.revision()
    assert outcomes(await apply(world, manifest())) == dict.fromkeys(("chat", "chat.2", "chat.3"), "unchanged")
    assert await world.revision() == revision


async def test_a_changed_spec_changes_all_of_the_set_where_it_is(world: World) -> None:
    await apply(world, manifest())
    await place(world)
    await apply(world, manifest(more="auto_start = true\nsettings.slots = 4\n"))
    rows = [await world.runtime(name) for name in ("chat", "chat.2", "chat.3")]
    assert {(row.spec.settings.slots, row.generation) for row in rows} == {(4, 2)}
    assert [row.node for row in rows] == ["n1", "n2", "n3"]


async def test_scaling_leaves_those_that_stay_alone_and_takes_the_highest_away(world: World) -> None:
    await apply(world, manifest(2))
    await place(world)
    second = await world.runtime("chat.2")
    assert (await scale(world)(CHAT, 3)).runtime.spec.replicas == 3
    await place(world)
    assert await world.runtime("chat.2") == second
    assert (await world.runtime("chat.3")).node == "n3"
    await scale(world)(CHAT, 1)
    assert list(await states(world)) == ["chat"]
    assert [await world.desired(node) for node in ("n1", "n2", "n3")] == [["nodes/n1/instances/chat"], [], []]
    assert (await world.topics()).count("runtime.deleted") == 2


async def test_a_replica_that_comes_back_is_another_one(world: World) -> None:
    await apply(world, manifest(2))
    before = await world.runtime("chat.2")
    await scale(world)(CHAT, 1)
    await scale(world)(CHAT, 2)
    assert (await world.runtime("chat.2")).uid != before.uid


async def test_scaling_is_repeatable_and_heeds_the_etag(world: World) -> None:
    await apply(world, manifest(1))
    request_id, etag = str(uuid.uuid4()), (await world.runtime()).etag
    for _ in range(2):
        assert (await scale(world)(CHAT, 2, etag=etag, request_id=request_id)).runtime.generation == 2
    with pytest.raises(EtagMismatch):
        await scale(world)(CHAT, 3, etag=etag)
    revision = await world.revision()
    assert (await scale(world)(CHAT, 2)).runtime.generation == 2
    assert await world.revision() == revision


@pytest.mark.parametrize(
    ("runtime", "number"), [("chat", 0), ("chat", 65), ("chat.2", 3), ("alone", 2), ("x" * 127, 2)]
)
async def test_what_cannot_be_scaled_is_refused_with_what_to_do(world: World, runtime: str, number: int) -> None:
    await apply(world, manifest(2, "alone", "alone.2", "x" * 127))
    with pytest.raises(InvalidArgument) as caught:
        await scale(world)(RuntimeId(runtime), number)
    assert caught.value.remedy


async def test_a_new_replica_runs_when_its_head_does(world: World) -> None:
    await apply(world, manifest(1, more=""))
    await scale(world)(CHAT, 2)
    assert (await states(world))["chat.2"] == "stopped"
    await restore(world)(CHAT)
    await scale(world)(CHAT, 3)
    assert set((await states(world)).values()) == {"running"}


async def test_what_is_ordered_of_the_head_is_ordered_of_all_at_one_revision(world: World) -> None:
    await apply(world, manifest())
    before = await world.revision()
    await shutdown(world)(CHAT)
    assert set((await states(world)).values()) == {"stopped"}
    assert await world.revision() == before + 1
    view = await restore(world)(CHAT, restart=True)
    assert view.runtime.id == "chat"
    assert set((await states(world)).values()) == {"running"}
    assert {(await world.runtime(name)).restore.serial for name in ("chat", "chat.2", "chat.3")} == {1}
    assert [event.payload["runtime"] for event in await world.events("runtime.shutdown")] == [
        "chat",
        "chat.2",
        "chat.3",
    ]


async def test_what_is_ordered_of_one_replica_is_ordered_of_that_one(world: World) -> None:
    await apply(world, manifest())
    await shutdown(world)(SECOND)
    assert await states(world) == {"chat": "running", "chat.2": "stopped", "chat.3": "running"}
    await scale(world)(CHAT, 2)
    assert (await states(world))["chat.2"] == "stopped", "to scale is to order nothing of those that stay"
    await restore(world)(SECOND)
    assert set((await states(world)).values()) == {"running"}
    await shutdown(world)(SECOND)
    await apply(world, manifest(more="auto_start = true\nsettings.slots = 4\n"))
    assert set((await states(world)).values()) == {"running"}, "a changed manifest starts it again"


async def test_a_plan_and_a_preview_leave_a_replica_stopped_that_applying_leaves_stopped(world: World) -> None:
    await apply(world, manifest())
    await shutdown(world)(SECOND)
    assert {each.action for each in (await plan(world, manifest())).runtimes} == {Action.NOTHING}
    for validate_only in (True, False):
        assert set(outcomes(await apply(world, manifest(), validate_only=validate_only)).values()) == {"unchanged"}
    assert (await states(world))["chat.2"] == "stopped"


async def test_shutting_the_head_down_again_stops_a_replica_that_was_restored_since(world: World) -> None:
    await apply(world, manifest())
    await shutdown(world)(CHAT)
    await restore(world)(SECOND)
    await shutdown(world)(CHAT)
    assert set((await states(world)).values()) == {"stopped"}


async def test_a_boot_starts_all_of_a_set(world: World) -> None:
    await apply(world, manifest())
    await shutdown(world)(CHAT)
    assert await BootRuntimes(world.store, world.clock)() == 3


async def test_one_exhausted_budget_refuses_the_restore_of_all(world: World) -> None:
    await apply(world, manifest())
    await place(world)
    await shutdown(world)(CHAT)
    world.fleet.record(an_instance("chat.2", "n2", InstanceState.ERROR, restart_budget=a_budget(3)))
    with pytest.raises(RestartBudgetExhausted) as caught:
        await restore(world)(CHAT)
    assert caught.value.metadata["runtime"] == "chat.2"
    assert set((await states(world)).values()) == {"stopped"}
    await restore(world)(CHAT, reset_budget=True)
    assert set((await states(world)).values()) == {"running"}


async def test_a_set_is_deleted_whole_and_a_replica_not_alone(world: World) -> None:
    await apply(world, manifest(2, "other"))
    delete = DeleteRuntime(world.store, world.clock)
    with pytest.raises(InvalidArgument) as caught:
        await delete(SECOND)
    assert "a replica of chat" in caught.value.text
    assert "arwctl runtime scale chat N" in caught.value.remedy
    await delete(CHAT)
    assert list(await states(world)) == ["other"]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (manifest(2, "chat.2"), "line 8: runtime chat.2: is the id of a replica of chat, which has 2"),
        (manifest(4), "line 2: runtime chat: its replica chat.4 would have the id of another runtime"),
        ('version = 1\n[[runtimes]]\nid = "b.2"\nadapter = "piper"\nmodel = "tiny"\n', "b.2: is a replica of b"),
    ],
)
async def test_an_id_that_is_taken_is_refused_with_its_line(world: World, text: str, fault: str) -> None:
    await apply(world, manifest(1).replace('"chat"', '"chat.4"') + manifest(2).replace('"chat"', '"b"')[12:])
    revision = await world.revision()
    for attempt in (plan(world, text), apply(world, text, validate_only=True), apply(world, text)):
        with pytest.raises(ManifestInvalid) as caught:
            await attempt
        assert fault in caught.value.text
        assert "runtime scale" in caught.value.remedy
    assert await world.revision() == revision


async def test_a_pruned_set_leaves_its_ids_to_others(world: World) -> None:
    await apply(world, manifest(2))
    text = manifest(1).replace('"chat"', '"chat.2"')
    assert (await apply(world, text, prune=True, validate_only=True)).removed == ("chat", "chat.2")
    applied = await apply(world, text, prune=True)
    assert applied.removed == ("chat", "chat.2")
    assert outcomes(applied) == {"chat.2": "created"}
    assert (await world.runtime("chat.2")).replica_of is None


async def test_a_plan_shows_which_rows_come_and_go_and_where(world: World) -> None:
    await apply(world, manifest(2))
    await place(world)
    grown = await plan(world, manifest(4))
    assert [(each.id, each.action, each.node) for each in grown.runtimes] == [
        ("chat", Action.CHANGE, "n1"),
        ("chat.2", Action.NOTHING, "n2"),
        ("chat.3", Action.CREATE, "n3"),
        ("chat.4", Action.CREATE, None),
    ]
    assert grown.runtimes[0].changes == (FieldChange("replicas", 2, 4),)
    assert [each.changes for each in grown.runtimes[1:]] == [()] * 3
    assert grown.runtimes[3].problem is not None
    assert "has a replica of chat already" in grown.runtimes[3].problem.text
    shrunk = await plan(world, manifest(1))
    assert [(each.id, each.action) for each in shrunk.runtimes] == [("chat", Action.CHANGE), ("chat.2", Action.REMOVE)]
    gone = await plan(world, "version = 1\n", prune=True)
    assert [each.action for each in gone.runtimes] == [Action.REMOVE] * 2


async def test_an_applied_manifest_tells_what_it_did_to_each(world: World) -> None:
    await apply(world, manifest(3))
    applied = await apply(world, manifest(2))
    assert outcomes(applied) == {"chat": "updated", "chat.2": "unchanged"}
    assert applied.removed == ("chat.3",)
    assert Outcome.REMOVED not in [each.outcome for each in applied.runtimes]


async def test_a_set_is_exported_and_listed_as_what_was_declared(world: World) -> None:
    await apply(world, manifest(3))
    export = ExportManifest(world.store, Writer())
    text = (await export([], ManifestForm.TOML)).decode()
    assert text.count("[[runtimes]]") == 1
    assert "replicas = 3" in text
    assert outcomes(await apply(world, text)) == dict.fromkeys(("chat", "chat.2", "chat.3"), "unchanged")
    with pytest.raises(InvalidArgument):
        await export([SECOND], ManifestForm.TOML)
    assert (await GetManifests(world.store, world.clock, ())()).declared == {"m.toml": ("chat",)}


async def test_what_never_had_replicas_is_as_it_was(world: World) -> None:
    await world.has(a_runtime("plain", "n1"))
    before = await world.runtime("plain")
    await apply(world, manifest(2))
    await scale(world)(CHAT, 1)
    assert await world.runtime("plain") == before


@pytest.mark.parametrize("bad", [0, 65, "2", True, 1.5])
def test_a_number_of_replicas_that_cannot_be_is_refused_with_its_key(bad: Any) -> None:
    text = f'version = 1\n[[runtimes]]\nid = "a"\nadapter = "llama.cpp"\nmodel = "m"\nreplicas = {str(bad).lower()}\n'
    text = text.replace("= 2\n", '= "2"\n') if bad == "2" else text
    with pytest.raises(ManifestInvalid, match=r"runtimes\[0\].replicas"):
        Reader().read(text.encode(), ManifestForm.TOML, "m.toml")


def test_more_replicas_than_a_manifest_may_ask_for_are_refused() -> None:
    entries = "".join(
        f'[[runtimes]]\nid = "r{n}"\nadapter = "llama.cpp"\nmodel = "m"\nreplicas = 64\n' for n in range(16)
    )
    with pytest.raises(ManifestInvalid, match="has 1024 with all replicas, at most 1000 are allowed"):
        Reader().read(f"version = 1\n{entries}".encode(), ManifestForm.TOML, "m.toml")


def test_an_id_that_leaves_no_room_for_a_number_is_refused() -> None:
    text = f'version = 1\n[[runtimes]]\nid = "{"a" * 126}"\nadapter = "llama.cpp"\nmodel = "m"\nreplicas = 2\n'
    with pytest.raises(ManifestInvalid, match="is too long for what has replicas"):
        Reader().read(text.encode(), ManifestForm.TOML, "m.toml")


def test_one_replica_is_what_every_spec_has() -> None:
    assert a_spec().replicas == 1


ORDERS = st.lists(
    st.one_of(
        st.tuples(st.just("apply"), st.integers(1, 4), st.booleans(), st.integers(1, 2)),
        st.tuples(st.just("scale"), st.integers(1, 4)),
        st.tuples(st.sampled_from(["shutdown", "restore"]), st.integers(1, 4)),
        st.tuples(st.sampled_from(["delete", "place", "swap"])),
    ),
    max_size=8,
)


async def carried_out(world: World, order: str, *given: Any) -> None:
    match order:
        case "apply":
            replicas, auto_start, slots = given
            more = f"auto_start = {str(auto_start).lower()}\nsettings.slots = {slots}\n"
            assert outcomes(await apply(world, manifest(replicas, more=more), validate_only=True)) == outcomes(
                await apply(world, manifest(replicas, more=more))
            )
        case "scale":
            await scale(world)(CHAT, given[0])
        case "shutdown" | "restore":
            name = RuntimeId("chat" if given[0] == 1 else f"chat.{given[0]}")
            await (shutdown if order == "shutdown" else restore)(world)(name)
        case "delete":
            await DeleteRuntime(world.store, world.clock)(CHAT)
        case "place":
            await place(world)
        case _:
            await Workshop(world).create(an_order(JobKind.SWAP_MODEL, model=a_model("other").id))


@given(ORDERS)
async def test_whatever_is_ordered_every_replica_has_its_head_and_what_that_says(orders: list[Any]) -> None:
    world = World()
    await world.has(a_model(), a_model("other"), *(a_node(name) for name in ("n1", "n2", "n3")))
    for name in ("n1", "n2", "n3"):
        world.fleet.connect(NodeId(name))
    for order in orders:
        with suppress(NotFound):
            await carried_out(world, *order)
        rows = {row.id: row for row in await world.store.read(lambda tx: tx.runtimes.all())}
        head = rows.pop(CHAT, None)
        assert set(rows) == set(replica_ids(CHAT, head.spec.replicas) if head else ())
        for row in rows.values():
            assert head is not None
            assert (row.replica_of, row.source) == (CHAT, head.source)
            assert row.spec == replace(head.spec, replicas=1)
        places = [row.node for row in (*rows.values(), *([head] if head else [])) if row.node]
        assert len(set(places)) == len(places)
        assert sorted([name for node in ("n1", "n2", "n3") for name in await world.desired(node)]) == sorted(
            f"nodes/{row.node}/instances/{row.id}" for row in (*rows.values(), *([head] if head else [])) if row.node
        )
