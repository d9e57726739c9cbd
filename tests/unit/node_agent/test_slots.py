"""What slots hold, kept and made: in bounded time, and said when it fails."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest

from node_agent.domain.inventory import Engine
from node_agent.domain.limits import Limits
from node_agent.domain.spec import EngineSettings, InstanceSpec
from node_agent.domain.timers import TEST
from node_agent.runtimes.cache_folder import CacheFolder
from node_agent.runtimes.directory import InstanceDirectory
from node_agent.runtimes.kinds.adapter import Gauges
from node_agent.runtimes.records import LaunchRecord
from node_agent.runtimes.slots import Filled, Slots, cache_folder, cache_key, forget_kept, model_key
from tests.fakes.instance_specs import NAME, spec
from tests.fakes.slot_engine import SlotEngine

ENGINE = Engine("slots", ("/opt/engine",), (("/opt/engine", "00"), ("/opt/lib", "01")), "1")
TIMERS = replace(TEST, keep_slots=timedelta(seconds=0.05), restore_slots=timedelta(seconds=0.05))
LIMIT = 1 << 20
HELD = {0: "a long talk", 2: "another one"}


@dataclass
class Bench:
    home: InstanceDirectory
    folder: CacheFolder
    engine: SlotEngine

    def slots(self, wanted: InstanceSpec, limit: int = LIMIT, engine: Engine = ENGINE) -> Slots:
        record = LaunchRecord(
            incarnation=1,
            argv=(),
            env={},
            cwd="/",
            cgroup="",
            log="",
            log_bytes=0,
            log_pieces=0,
            port=1,
            key_file="",
            engine="",
            launch_key="",
            time=0.0,
            cache=str(self.folder.path),
            cache_key=cache_key(wanted, engine),
        )
        self.home.save(record)
        return Slots(self.engine, self.home, record, limit, TIMERS)

    def files(self) -> list[str]:
        return sorted(path.name for path in self.folder.path.iterdir())

    def started_anew(self) -> None:
        self.engine.slots, self.engine.read = {}, []


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    (tmp_path / "instances").mkdir(mode=0o700)
    home = InstanceDirectory.of(tmp_path / "instances", NAME)
    engine = SlotEngine(tmp_path)
    folder = cache_folder(home, spec(), engine, Limits())
    assert folder is not None
    engine.folder = folder.path
    return Bench(home, folder, engine)


def settings(*prompts: str, cache: str | None = None) -> InstanceSpec:
    return spec(settings=EngineSettings(slots=3, warm_up_prompts=prompts or None, prompt_cache=cache))


def silent(_: str) -> None:
    """Nobody listens."""


async def filled(bench: Bench, wanted: InstanceSpec, told: Callable[[str], None] = silent) -> Filled:
    return await bench.slots(wanted).fill(wanted, 3, told)


async def test_each_slot_holds_again_what_it_held_and_nothing_stays_on_disk(bench: Bench) -> None:
    bench.engine.slots = dict(HELD)
    await bench.slots(settings()).keep(3)
    assert len(bench.files()) == len(HELD)
    bench.started_anew()
    found = await filled(bench, settings())
    assert bench.engine.slots == HELD
    assert found == Filled(True, ("2 of 3 slots hold what they held before the restart",))
    assert bench.files() == []
    assert bench.home.kept_slots() is None


async def test_a_slot_that_is_not_saved_in_time_does_not_hold_up_the_stop(bench: Bench) -> None:
    bench.engine.slots, bench.engine.mute_after = dict(HELD), 1
    await bench.slots(settings()).keep(3)
    kept = bench.home.kept_slots()
    assert kept is not None
    assert list(kept.files.values()) == [0]
    bench.started_anew()
    bench.engine.mute_after = None
    found = await filled(bench, settings())
    assert found.notes[0] == "Not all of what its slots held was kept: it took too long."
    assert bench.engine.slots == {0: HELD[0]}


async def test_a_slot_that_is_not_read_back_in_time_does_not_hold_up_the_start(bench: Bench) -> None:
    bench.engine.slots = dict(HELD)
    await bench.slots(settings()).keep(3)
    bench.started_anew()
    bench.engine.mute_after = 0
    found = await filled(bench, settings())
    assert found.notes == ("Not all of what its slots held was read back: it took too long.",)
    assert found.warm is False
    assert bench.files() == []


@pytest.mark.parametrize("other", [{"digests": (("/opt/engine", "00"), ("/opt/lib", "02"))}, {"digests": ()}])
async def test_another_engine_reads_nothing_of_it(bench: Bench, other: dict[str, object]) -> None:
    bench.engine.slots = dict(HELD)
    await bench.slots(settings()).keep(3)
    bench.started_anew()
    slots = bench.slots(settings(), engine=replace(ENGINE, **other))  # type: ignore[arg-type]
    assert (await slots.fill(settings(), 3, silent)).warm is False
    assert bench.engine.slots == {}
    assert bench.files() == []


async def test_what_is_kept_never_takes_more_than_the_owner_lets_it(bench: Bench) -> None:
    bench.engine.slots = {0: "x" * 60, 1: "y" * 60}
    await bench.slots(settings(), limit=100).keep(2)
    assert len(bench.files()) == 1
    bench.started_anew()
    first, second = (await filled(bench, settings())).notes
    assert first.endswith("it is more than this node's owner lets prompts take.")
    assert second == "1 of 3 slots hold what they held before the restart"
    assert bench.engine.slots == {1: "y" * 60}


async def test_what_was_kept_for_a_restart_that_does_not_come_is_removed(bench: Bench) -> None:
    bench.engine.slots = dict(HELD)
    await bench.slots(settings()).keep(3)
    forget_kept(bench.home)
    assert bench.files() == []
    assert bench.home.kept_slots() is None


async def test_what_was_kept_before_a_change_of_the_folder_is_removed_where_it_lies(bench: Bench) -> None:
    bench.engine.slots = dict(HELD)
    await bench.slots(settings()).keep(3)
    before = bench.folder
    changed = settings("a", cache="songs")
    folder = cache_folder(bench.home, changed, bench.engine, Limits())
    assert folder is not None
    bench.folder, bench.engine.folder = folder, folder.path
    bench.started_anew()
    await filled(bench, changed)
    assert bench.engine.slots == {0: "a"}
    assert not list(before.path.iterdir())


async def test_prompts_are_read_once_into_slots_of_their_own(bench: Bench) -> None:
    wanted, said = settings("a", "b"), list[str]()
    assert (await filled(bench, wanted, said.append)) == Filled(True, ("warmed up with 2 of 2 prompts",))
    assert (bench.engine.slots, bench.engine.read) == ({0: "a", 1: "b"}, ["a", "b"])
    assert said == ["Warming up, prompt 1 of 2", "Warming up, prompt 2 of 2"]
    bench.started_anew()
    assert (await filled(bench, wanted)).warm is True
    assert (bench.engine.slots, bench.engine.read) == ({0: "a", 1: "b"}, [])


async def test_prompts_leave_alone_what_was_read_back_for_a_restart(bench: Bench) -> None:
    bench.engine.slots = dict(HELD)
    wanted = settings("a", "b")
    await bench.slots(wanted).keep(3)
    bench.started_anew()
    await filled(bench, wanted)
    assert bench.engine.slots == {**HELD, 1: "a"}
    assert bench.engine.read == ["a", "b"]


async def test_a_prompt_that_is_refused_is_said_and_the_others_are_read(bench: Bench) -> None:
    bench.engine.unwilling = frozenset({"a"})
    found = await filled(bench, settings("a", "b"))
    assert found.notes == ("warmed up with 1 of 2 prompts", "Warm-up prompt 1 was not read: it is too long.")
    assert found.warm is True


@pytest.mark.parametrize(("has_read", "warm"), [(True, True), (False, False), (None, None)])
async def test_without_prompts_only_the_engines_own_word_counts(
    bench: Bench, has_read: bool | None, warm: bool | None
) -> None:
    bench.engine.has_read = has_read
    assert (await filled(bench, settings())).warm is warm


async def test_of_an_earlier_agents_engine_an_empty_count_says_nothing(bench: Bench) -> None:
    slots = bench.slots(settings("a"))
    assert (await slots.find(settings("a"))) == Filled(None)
    assert bench.engine.read == []
    bench.engine.has_read = True
    assert (await slots.find(settings("a"))).warm is True


async def test_the_first_request_warms_it_and_the_next_is_no_news(bench: Bench) -> None:
    slots = bench.slots(settings())
    await slots.fill(settings(), 3, silent)
    counts = [
        Gauges(),
        Gauges(prompt_tokens_total=0.0),
        Gauges(prompt_tokens_total=5.0),
        Gauges(prompt_tokens_total=9.0),
    ]
    assert [slots.warms(settings(), gauges) for gauges in counts] == [False, False, True, False]


async def test_embeddings_have_no_prompt_cache(bench: Bench) -> None:
    wanted = spec(settings=EngineSettings(embeddings=True))
    slots = bench.slots(wanted)
    assert await slots.fill(wanted, 3, silent) == Filled(None)
    assert not slots.warms(wanted, Gauges(prompt_tokens_total=5.0))


def test_an_owner_who_keeps_prompts_off_the_disk_gives_no_folder(bench: Bench) -> None:
    assert cache_folder(bench.home, spec(), bench.engine, Limits(prompt_cache_bytes=0)) is None


def test_a_folder_that_cannot_be_made_costs_the_cache_alone(bench: Bench) -> None:
    (bench.home.path.parents[1] / "prompt_cache").write_text("in the way")
    assert cache_folder(bench.home, settings("a", cache="songs"), bench.engine, Limits()) is None


def test_the_same_model_is_known_by_its_digest_and_another_number_of_slots_is_another() -> None:
    one = spec(settings=EngineSettings(slots=2))
    assert cache_key(one, ENGINE).startswith(model_key(one))
    assert model_key(replace(one, runtime_id="other", settings=EngineSettings(slots=2, threads=4))) == model_key(one)
    assert model_key(spec(settings=EngineSettings(slots=3))) != model_key(one)
