"""A disk that is nearly full: when it counts as such, what it keeps out, and what is kept back for records."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from node_agent.check.finding import Level
from node_agent.check.means import of_room
from node_agent.disk.ballast import Ballast
from node_agent.disk.room import DiskWatch, room_of
from node_agent.domain.disk_room import (
    BALLAST,
    Room,
    beside_ballast,
    gives_up_ballast,
    is_short,
    kept_out,
    takes_ballast,
)
from node_agent.domain.disk_room import pressure as pressure_of
from node_agent.domain.inventory import Inventory
from node_agent.domain.limits import Denial
from node_agent.domain.observed import Observed, Phase, launch_key
from node_agent.domain.plan import plan
from node_agent.domain.spec import DesiredState, ExternalSettings
from node_agent.domain.step import Cause, Deny, Restart, Start
from node_agent.runtimes.safe_mode import GuardedHardware
from tests.fakes.instance_specs import NAME, spec
from tests.fakes.leaky_hardware import LeakyHardware

NOW = datetime(2026, 11, 20, tzinfo=UTC)
MIB, GIB, TIB = 1 << 20, 1 << 30, 1 << 40
FULL = pressure_of(Room("/state", 0, GIB))


@pytest.mark.parametrize(
    ("size", "least"), [(TIB, 512 * MIB), (10 * GIB, 512 * MIB), (GIB, GIB // 20), (8 * MIB, 8 * MIB // 20)]
)
def test_a_twentieth_of_a_disk_and_never_more_than_half_a_gibibyte_has_to_be_free(size: int, least: int) -> None:
    assert not is_short(Room("/state", least + 1, size), was=False)
    assert is_short(Room("/state", least - 1, size), was=False)


def test_it_is_over_only_when_twice_as_much_is_free() -> None:
    disk = Room("/state", 600 * MIB, TIB)
    assert not is_short(disk, was=False)
    assert is_short(disk, was=True)
    assert not is_short(replace(disk, free_bytes=GIB), was=True)


def test_ballast_is_made_where_it_brings_no_pressure_and_given_up_when_hardly_anything_is_free() -> None:
    assert takes_ballast(Room("/state", GIB, TIB))
    assert not takes_ballast(Room("/state", GIB - 1, TIB))
    assert not takes_ballast(Room("/state", 64 * MIB, 64 * MIB)), "it would be much of a tiny disk"
    assert not gives_up_ballast(Room("/state", 5 * MIB, TIB))
    assert gives_up_ballast(Room("/state", 3 * MIB, TIB))


def test_the_ballast_that_is_not_there_is_no_room_but_on_a_disk_that_is_too_small_for_it() -> None:
    disk = Room("/state", 10 * MIB, GIB)
    assert beside_ballast(disk, ballast=True) == disk
    assert beside_ballast(disk, ballast=False).free_bytes == 2 * MIB
    assert beside_ballast(replace(disk, free_bytes=MIB), ballast=False).free_bytes == 0
    assert beside_ballast(replace(disk, size_bytes=64 * MIB), ballast=False).free_bytes == 10 * MIB


def test_without_room_only_a_first_launch_is_kept_out() -> None:
    def steps(*observed: Observed) -> list[object]:
        return list(plan([spec()], observed, NOW, kept_out(FULL, [spec()], observed)))

    changed = Observed(NAME, Phase.UP, "an older launch", launched=True)
    ended = Observed(NAME, Phase.WAITING, launch_key(spec()), retry_at=NOW, launched=True)
    assert steps() == [Deny(NAME, FULL)]
    assert steps(Observed(NAME, Phase.DENIED, denied=FULL)) == []
    assert steps(Observed(NAME, Phase.BLOCKED, launch_key(spec()))) == [Deny(NAME, FULL)]
    assert steps(Observed(NAME, Phase.DOWN, launch_key(spec()), launched=True)) == [Start(spec(), Cause.DESIRED)]
    assert steps(changed) == [Restart(spec(), Cause.CHANGED)]
    assert steps(ended) == [Start(spec(), Cause.AUTOMATIC)]


def test_what_is_not_to_run_or_runs_without_us_needs_no_room() -> None:
    external = spec(external=ExternalSettings("http://127.0.0.1:1"))
    stopped = spec(desired_state=DesiredState.STOPPED)
    assert kept_out(FULL, [external], []) == kept_out(FULL, [stopped], []) == kept_out(None, [spec()], []) == {}
    assert kept_out(FULL, [spec()], []) == {NAME: Denial(FULL)}


def test_room_over_the_first_launch_goes_ahead() -> None:
    denied = Observed(NAME, Phase.DENIED, denied=FULL)
    assert plan([spec()], [denied], NOW) == [Start(spec(), Cause.DESIRED)]


class Disk:
    """Of one gibibyte, on which the ballast lies."""

    def __init__(self, ballast: Ballast) -> None:
        self.free = GIB
        self.ballast = ballast

    def room(self, folder: Path) -> Room | None:
        return Room(str(folder), self.free - BALLAST * self.ballast.is_there(), GIB)


def problems(told: Iterable[Inventory]) -> list[str]:
    return [inventory.limits.closed.reason if inventory.limits.closed else "" for inventory in told]


async def test_pressure_is_told_when_it_begins_and_when_it_is_over(tmp_path: Path) -> None:
    ballast = Ballast(tmp_path / "ballast.bin")
    disk = Disk(ballast)
    watch = DiskWatch([tmp_path], ballast, disk.room)
    guarded = GuardedHardware(LeakyHardware(), watch)
    told: list[Inventory] = []
    guarded.on_change(told.append)
    await watch.look()
    assert ((await guarded.inventory()).limits.closed, told) == (None, [])
    for free in (40 * MIB, 30 * MIB, 70 * MIB, GIB, GIB):
        disk.free = free
        await watch.look()
    assert problems(told) == ["DISK_PRESSURE", ""]
    assert told[0].limits.closed is not None
    assert "32 of 1024 MiB are free" in told[0].limits.closed.text


async def test_the_ballast_is_freed_on_a_full_disk_and_made_again_when_there_is_room(tmp_path: Path) -> None:
    ballast = Ballast(tmp_path / "ballast.bin")
    disk = Disk(ballast)
    watch = DiskWatch([tmp_path], ballast, disk.room)
    await watch.look()
    assert (tmp_path / "ballast.bin").stat().st_blocks * 512 >= BALLAST
    for free, there in ((20 * MIB, True), (BALLAST + MIB, False), (60 * MIB, False), (GIB, True)):
        disk.free = free
        await watch.look()
        assert ballast.is_there() is there, free
        assert (watch.problem() is None) is (free == GIB), "to give up the ballast is no end of the pressure"


def test_an_agent_that_starts_on_a_full_disk_knows_it_before_it_plans_anything(tmp_path: Path) -> None:
    ballast = Ballast(tmp_path / "ballast.bin")
    disk = Disk(ballast)
    disk.free = MIB
    watch = DiskWatch([tmp_path], ballast, disk.room)
    watch.begin()
    assert watch.problem() is not None
    assert not ballast.is_there()


async def test_the_disk_of_the_logs_counts_only_when_it_is_another_one(tmp_path: Path) -> None:
    asked: list[Path] = []

    def look(folder: Path) -> Room | None:
        asked.append(folder)
        return Room(str(folder), 0 if folder == Path("/proc") else GIB, GIB)

    watch = DiskWatch([tmp_path, tmp_path.parent, tmp_path / "gone", Path("/proc")], Ballast(tmp_path / "b"), look)
    await watch.look()
    problem = watch.problem()
    assert asked == [tmp_path, Path("/proc")]
    assert problem is not None
    assert problem.metadata == {"folder": "/proc"}


async def test_a_disk_that_cannot_be_asked_is_never_called_full(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    assert room_of(gone) is None
    watch = DiskWatch([gone], Ballast(gone / "ballast.bin"))
    await watch.look()
    assert watch.problem() is None


def test_where_no_ballast_can_be_made_nothing_is_left_of_it(tmp_path: Path) -> None:
    Ballast(tmp_path / "gone" / "ballast.bin").make()
    Ballast(tmp_path / "gone" / "ballast.bin").free()
    fifo = tmp_path / "pipe"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    Ballast(fifo).make()
    os.close(reader)
    assert not fifo.exists()


def test_check_says_whether_pressure_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node_agent.check.means.room_of", lambda folder: Room(str(folder), 10 * MIB, TIB))
    (disk,) = of_room(tmp_path, 0)
    assert disk.level is Level.WRONG
    assert disk.text.startswith("DISK_PRESSURE: The disk with")
    assert "1024 MiB" in disk.remedy
