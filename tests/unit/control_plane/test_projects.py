from __future__ import annotations

import uuid
from contextlib import suppress
from dataclasses import replace
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.domain import secret
from control_plane.domain.accelerator import AcceleratorKind
from control_plane.domain.errors import (
    AlreadyExists,
    EtagMismatch,
    InUse,
    InvalidArgument,
    InvalidId,
    NotFound,
    RequestIdReused,
    TokenUsed,
)
from control_plane.domain.execution import ExecutionMode
from control_plane.domain.ids import KeyId, ModelId, NodeId, ProjectId, RuntimeId
from control_plane.domain.pin import Combination, Pin, check_pin
from control_plane.domain.project import MAX_KEYS, Project, ProjectKey, check_project_id, check_words
from control_plane.use_cases.create_project import CreateProject
from control_plane.use_cases.delete_project import DeleteProject
from control_plane.use_cases.project_book import ProjectBook
from control_plane.use_cases.project_keys import CreateProjectKey, KeyGrant, RecordKeyUses, RevokeProjectKey
from control_plane.use_cases.read_projects import GetProject, GetProjects, ListProjectKeys, ListProjects, ViewProjects
from control_plane.use_cases.update_project import DeleteProjectPin, SetProjectPin, UpdateProject
from tests.fakes.control_plane import World, a_runtime, a_spec, an_instance

TEAM, OTHER = ProjectId("team/a"), ProjectId("other")
ON_N1 = Pin("tiny", Combination(node=NodeId("n1")))
DAY = timedelta(days=1)


async def create(world: World, project: ProjectId = TEAM, request_id: str = "") -> Project:
    return await CreateProject(world.store, world.clock, world.randomness)(project, request_id=request_id)


async def create_key(
    world: World, label: str = "", ttl: timedelta | None = None, *, project: ProjectId = TEAM, request_id: str = ""
) -> KeyGrant:
    make = CreateProjectKey(world.store, world.clock, world.randomness)
    return await make(project, label=label, ttl=ttl, request_id=request_id)


async def set_pin(world: World, pin: Pin = ON_N1, etag: str = "") -> Project:
    return await SetProjectPin(world.store, world.clock)(TEAM, pin, etag=etag)


def views(world: World) -> ViewProjects:
    return ViewProjects(ProjectBook(world.store), world.mirror, world.fleet, world.clock)


async def test_a_project_is_made_once_listed_and_told(world: World) -> None:
    made = await create(world)
    assert made == await GetProject(world.store)(TEAM)
    assert (made.disabled, made.pins, made.create_time) == (False, (), world.clock.now())
    with pytest.raises(AlreadyExists):
        await create(world)
    await create(world, OTHER)
    first = await ListProjects(world.store)(1)
    rest = await ListProjects(world.store)(1, first.next_token)
    assert [project.id for project in (*first.items, *rest.items)] == [OTHER, TEAM]
    told = (await world.events("project."))[0]
    assert (told.kind, told.subject) == ("project.created", "projects/team__a")
    assert told.payload == {"id": TEAM, "display_name": "", "disabled": False, "pins": []}


async def test_a_repeated_request_is_answered_and_not_done_again(world: World) -> None:
    id_ = str(uuid.uuid4())
    made, revision = await create(world, request_id=id_), await world.revision()
    assert await create(world, request_id=id_) == made
    assert await world.revision() == revision
    with pytest.raises(RequestIdReused):
        await create(world, OTHER, id_)


async def test_a_change_takes_a_revision_and_no_change_takes_none(world: World) -> None:
    made, update = await create(world), UpdateProject(world.store, world.clock)
    before = await world.revision()
    disabled = await update(TEAM, disabled=True, etag=made.etag)
    assert (disabled.disabled, disabled.display_name, disabled.etag != made.etag) == (True, "", True)
    assert await world.revision() == before + 1
    assert await update(TEAM, disabled=True) == disabled
    assert await world.revision() == before + 1
    with pytest.raises(EtagMismatch):
        await update(TEAM, display_name="late", etag=made.etag)
    with pytest.raises(NotFound, match="no project other"):
        await update(OTHER, disabled=True)
    assert [event.kind for event in await world.events("project.")] == ["project.created", "project.updated"]


async def test_a_key_is_kept_as_a_hash_and_no_event_knows_its_secret(world: World) -> None:
    await create(world)
    grant = await create_key(world, "ci", DAY)
    key, _, text = grant.text.partition(".")
    assert (key, grant.key.secret_sha256) == (grant.key.id, secret.hashed(text))
    assert len(text) * 5 >= 128
    assert text not in repr(grant.key)
    assert grant.key.secret_sha256 not in repr(grant.key)
    assert grant.key.expire_time == world.clock.now() + DAY
    (told,) = await world.events("project.key.")
    assert told.payload == {"project": TEAM, "id": key, "label": "ci", "expires": "2026-11-21T12:00:00Z"}
    with pytest.raises(NotFound):
        await create_key(world, project=OTHER)


async def test_a_key_whose_first_answer_was_lost_gets_a_new_secret_until_it_was_used(world: World) -> None:
    await create(world)
    id_ = str(uuid.uuid4())
    lost, found = await create_key(world, request_id=id_), await create_key(world, request_id=id_)
    assert (lost.key.id, lost.text == found.text) == (found.key.id, False)
    (row,) = await world.store.read(lambda tx: tx.project_keys.all())
    assert row.secret_sha256 == found.key.secret_sha256
    await RecordKeyUses(world.store)({found.key.id: date(2026, 11, 20)})
    with pytest.raises(TokenUsed):
        await create_key(world, request_id=id_)


async def test_a_revoked_key_stays_revoked_and_belongs_to_one_project(world: World) -> None:
    await create(world)
    await create(world, OTHER)
    key, revoke = (await create_key(world)).key.id, RevokeProjectKey(world.store, world.clock)
    with pytest.raises(NotFound):
        await revoke(OTHER, key)
    first = await revoke(TEAM, key)
    world.clock.advance(DAY)
    assert await revoke(TEAM, key) == first
    assert first.over(world.clock.now()) == "revoked"
    assert [event.kind for event in await world.events("project.key.")] == [
        "project.key.created",
        "project.key.revoked",
    ]


async def test_the_last_day_of_use_is_kept_without_a_revision(world: World) -> None:
    await create(world)
    key, record = (await create_key(world)).key.id, RecordKeyUses(world.store)
    revision = await world.revision()
    await record({key: date(2026, 11, 21), KeyId("gone"): date(2026, 11, 21)})
    await record({key: date(2026, 11, 20)})
    (seen,) = await ListProjectKeys(world.store, ProjectBook(world.store))(TEAM)
    assert (seen.key.id, seen.last_use) == (key, date(2026, 11, 21))
    assert await world.store.read(lambda tx: tx.key_uses.get(KeyId("gone"))) is None
    assert await world.revision() == revision


async def test_a_project_with_keys_that_count_is_deleted_only_by_force(world: World) -> None:
    await create(world)
    live, old = (await create_key(world)).key, (await create_key(world, ttl=DAY)).key
    await RecordKeyUses(world.store)({live.id: date(2026, 11, 20)})
    delete = DeleteProject(world.store, world.clock)
    with pytest.raises(InUse, match="keys that count: 2"):
        await delete(TEAM)
    world.clock.advance(DAY)
    with pytest.raises(InUse, match="keys that count: 1"):
        await delete(TEAM)
    assert old.over(world.clock.now()) == "expired"
    id_ = str(uuid.uuid4())
    await delete(TEAM, force=True, request_id=id_)
    await delete(TEAM, force=True, request_id=id_)
    left = await world.store.read(lambda tx: (tx.projects.all(), tx.project_keys.all(), tx.key_uses.all()))
    assert left == ([], [], [])
    with pytest.raises(NotFound):
        await ListProjectKeys(world.store, ProjectBook(world.store))(TEAM)


async def test_beyond_the_most_keys_the_oldest_that_counts_no_more_makes_room(world: World) -> None:
    await create(world)
    now = world.clock.now()
    keys = [ProjectKey(KeyId(f"k{number}"), TEAM, "", now) for number in range(MAX_KEYS)]

    async def have(*rows: ProjectKey) -> None:
        for row in rows:
            await world.store.write(lambda tx, row=row: tx.project_keys.put(row))  # type: ignore[misc]

    await have(*keys)
    with pytest.raises(InvalidArgument, match=f"has {MAX_KEYS} keys"):
        await create_key(world)
    await have(replace(keys[7], revoke_time=now))
    made = await create_key(world)
    left = {key.id for key in await world.store.read(lambda tx: tx.project_keys.all())}
    assert left == {key.id for key in keys} - {keys[7].id} | {made.key.id}


async def test_the_last_word_on_a_name_is_its_pin(world: World) -> None:
    await create(world)
    await set_pin(world, Pin("zeta", Combination(adapter="vllm")))
    await set_pin(world)
    changed = await set_pin(world, replace(ON_N1, fallback=True))
    assert [(pin.asked, pin.fallback) for pin in changed.pins] == [("tiny", True), ("zeta", False)]
    with pytest.raises(EtagMismatch):
        await set_pin(world, etag="old")
    unpin = DeleteProjectPin(world.store, world.clock)
    assert [pin.asked for pin in (await unpin(TEAM, "tiny")).pins] == ["zeta"]
    with pytest.raises(NotFound, match="no pin for 'tiny'"):
        await unpin(TEAM, "tiny")


async def test_a_pin_is_shown_with_what_it_matches_and_warns_of_matching_nothing(world: World) -> None:
    await create(world)
    await world.has(
        a_runtime("a", "n1"), a_runtime("b", "n2"), a_runtime("elsewhere", "n1", a_spec(model=ModelId("m")))
    )
    (seen,) = await views(world)(await set_pin(world))
    assert (seen.fitting, seen.warnings("tiny")) == ({"tiny": ("a",)}, [])
    await world.store.write(lambda tx: tx.runtimes.delete(RuntimeId("a")))
    (seen,) = await views(world)(seen.project)
    (warning,) = seen.warnings("tiny")
    assert warning.text == "No declared runtime that goes by 'tiny' has node n1 now."
    assert "refused" in warning.remedy
    everything = await GetProjects(views(world))()
    assert [view.project.id for view in everything.projects] == [TEAM]


async def test_a_runtime_counts_as_what_it_runs_as_and_before_as_declared(world: World) -> None:
    await create(world)
    cuda, container = AcceleratorKind.GPU_CUDA, ExecutionMode.CONTAINER
    await world.has(
        a_runtime("declared", "n1", a_spec(accelerator=cuda)), a_runtime("runs", "n1"), a_runtime("fell-back", "n1")
    )
    world.fleet.connect("n1")
    world.fleet.record(an_instance("runs", accelerator=cuda, execution_mode=container))
    world.fleet.record(an_instance("fell-back", accelerator=AcceleratorKind.CPU))
    (seen,) = await views(world)(await set_pin(world, Pin("tiny", Combination(accelerator=cuda))))
    assert seen.fitting["tiny"] == ("declared", "runs")
    (seen,) = await views(world)(await set_pin(world, Pin("tiny", Combination(execution_mode=container))))
    assert seen.fitting["tiny"] == ("runs",)


async def test_a_project_is_held_to_those_under_a_profile_and_nobody_else_is_touched(world: World) -> None:
    await create(world)
    await world.has(
        a_runtime("fast", "n1", a_spec(profile="turbo")), a_runtime("quiet", "n1", a_spec(profile="silent"))
    )
    (seen,) = await views(world)(await set_pin(world, Pin("tiny", Combination(profile="silent"))))
    assert seen.fitting["tiny"] == ("quiet",)
    assert (await world.runtime("fast")).spec.profile == "turbo"


async def test_a_pin_of_a_set_holds_to_all_of_its_replicas(world: World) -> None:
    await create(world)
    await world.has(a_runtime("chat", "n1"), a_runtime("chat.2", "n2", replica_of=RuntimeId("chat")))
    (seen,) = await views(world)(await set_pin(world, Pin("chat", Combination(RuntimeId("chat")))))
    assert seen.fitting["chat"] == ("chat", "chat.2")


@pytest.mark.parametrize(
    "pin",
    [
        Pin("tiny", Combination()),
        Pin("", ON_N1.combination),
        Pin("a\nb", ON_N1.combination),
        Pin("x" * 257, ON_N1.combination),
        Pin("tiny", Combination(adapter="rm -rf /")),
        Pin("tiny", Combination(profile="../silent")),
        Pin("tiny", Combination(runtime=RuntimeId("no such id"))),
        Pin("tiny", Combination(node=NodeId("A"))),
    ],
)
def test_a_pin_that_makes_no_sense_is_refused_with_what_to_do(pin: Pin) -> None:
    with pytest.raises((InvalidArgument, InvalidId)) as raised:
        check_pin(pin)
    assert raised.value.remedy


@pytest.mark.parametrize("ttl", [timedelta(), -DAY, timedelta(days=36500)])
async def test_a_life_out_of_range_is_refused(world: World, ttl: timedelta) -> None:
    await create(world)
    with pytest.raises(InvalidArgument, match="life is out of range"):
        await create_key(world, ttl=ttl)


@given(st.text(max_size=140))
def test_an_id_or_a_label_is_taken_as_it_is_or_refused(text: str) -> None:
    with suppress(InvalidId):
        check_project_id(ProjectId(text))
        assert text.isascii()
    with suppress(InvalidArgument):
        check_words(text, 80, "label")
        assert len(text) <= 80
        assert "\x1b" not in text


def test_an_id_that_reads_like_its_own_resource_name_is_refused() -> None:
    with pytest.raises(InvalidId):
        check_project_id(ProjectId("projects/a"))
