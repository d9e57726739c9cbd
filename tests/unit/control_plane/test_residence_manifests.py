"""When a runtime is in memory, as manifests say it and as declaring them does it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from control_plane.domain.errors import InvalidArgument, ManifestInvalid
from control_plane.domain.ids import RuntimeId
from control_plane.domain.manifest import ManifestForm
from control_plane.domain.residence import ALWAYS, Residence, SleepCause
from control_plane.domain.runtime import DesiredState
from control_plane.manifests.profiles import shipped
from control_plane.manifests.reader import Reader
from control_plane.manifests.writer import Writer
from control_plane.use_cases.apply_manifest import ApplyManifest
from control_plane.use_cases.scale_runtime import ScaleRuntime
from tests.fakes.control_plane import World, a_model

ENTRY = 'version = 1\n[[runtimes]]\nid = "a"\nadapter = "llama.cpp"\nmodel = "tiny"\n'
ON_DEMAND = "on_demand = true\n"


def residence(more: str) -> Residence:
    (entry,) = Reader().read((ENTRY + more).encode(), ManifestForm.TOML, "m.toml").runtimes
    return entry.spec.residence


async def apply(world: World, more: str) -> DesiredState:
    applying = ApplyManifest(world.store, world.fleet, world.clock, world.randomness, Reader())
    await applying((ENTRY + more).encode(), ManifestForm.TOML, "m.toml")
    return (await world.runtime("a")).desired_state


@pytest.fixture
async def world() -> World:
    made = World()
    await made.has(a_model())
    return made


def test_what_is_left_out_is_always_in_memory() -> None:
    assert residence("") == ALWAYS == residence('idle_unload = "never"\n')


@pytest.mark.parametrize(
    ("said", "after"), [("90s", timedelta(seconds=90)), ("10m", timedelta(minutes=10)), ("2h", timedelta(hours=2))]
)
def test_every_key_is_read_and_written_again(said: str, after: timedelta) -> None:
    more = f'{ON_DEMAND}idle_unload = "{said}"\nkeep_loaded = true\n'
    assert residence(more) == Residence(on_demand=True, idle_unload=after, keep_loaded=True)
    read = Reader().read((ENTRY + more).encode(), ManifestForm.TOML, "m.toml")
    for form in ManifestForm:
        again = Reader().read(Writer().written(read.runtimes, form), form, "m")
        assert [entry.spec for entry in again.runtimes] == [entry.spec for entry in read.runtimes]


@pytest.mark.parametrize(
    ("more", "fault"),
    [
        ('idle_unload = "10m"\n', "idle_unload: needs on_demand = true"),
        ("keep_loaded = true\n", "keep_loaded: needs on_demand = true"),
        (ON_DEMAND + "replicas = 2\n", "on_demand: is for runtimes of one replica"),
        (ON_DEMAND + 'idle_unload = "400d"\n', "idle_unload: must be at most 365d"),
        (ON_DEMAND + 'idle_unload = "soon"\n', "idle_unload"),
        ('on_demand = "yes"\n', "on_demand"),
    ],
)
def test_what_makes_no_sense_is_a_fault(more: str, fault: str) -> None:
    with pytest.raises(ManifestInvalid, match=fault):
        residence(more)


async def test_what_is_loaded_on_demand_begins_asleep_unless_it_has_auto_start(world: World) -> None:
    assert await apply(world, ON_DEMAND) is DesiredState.HIBERNATED
    sleep = (await world.runtime("a")).sleep
    assert sleep is not None
    assert (sleep.cause, sleep.wake) == (SleepCause.DECLARED, None)
    assert await apply(world, ON_DEMAND + "auto_start = true\n") is DesiredState.HIBERNATED
    other = World()
    await other.has(a_model())
    assert await apply(other, ON_DEMAND + "auto_start = true\n") is DesiredState.RUNNING


async def test_what_was_stopped_may_be_started_by_requests_once_it_is_declared_so(world: World) -> None:
    assert await apply(world, "") is DesiredState.STOPPED
    assert await apply(world, ON_DEMAND) is DesiredState.HIBERNATED


async def test_what_runs_goes_on_when_it_becomes_loaded_on_demand(world: World) -> None:
    assert await apply(world, "auto_start = true\n") is DesiredState.RUNNING
    assert await apply(world, ON_DEMAND + "auto_start = true\n") is DesiredState.RUNNING


async def test_what_is_loaded_on_demand_has_one_replica(world: World) -> None:
    await apply(world, ON_DEMAND)
    with pytest.raises(InvalidArgument, match="loaded on demand"):
        await ScaleRuntime(world.store, world.fleet, world.clock)(RuntimeId("a"), 2)


def test_no_profile_says_when_a_runtime_is_in_memory() -> None:
    assert all(not hasattr(profile, "residence") for profile in shipped().values())
