from __future__ import annotations

from node_agent.domain.spec import InstanceSpec
from tests.fakes.agent_bench import HISTORY, AgentBench, MemoryDesired, a_spec, name_of, removal, wanted

RUNTIMES = tuple("abcdefghij")


def bench_with(running: tuple[str, ...]) -> AgentBench:
    specs = {name_of(runtime): a_spec(runtime, 1) for runtime in RUNTIMES}
    bench = AgentBench(disk=MemoryDesired(HISTORY, 1, specs), running=running)
    bench.welcome()
    return bench


def names(specs: tuple[InstanceSpec, ...] | None) -> set[str]:
    assert specs is not None
    return {spec.runtime_id for spec in specs}


def test_an_empty_snapshot_is_stored_but_stops_nothing_for_a_minute() -> None:
    bench = bench_with(RUNTIMES)
    bench.batch(1, 2, snapshot=True, from_revision=0)
    assert not bench.disk.specs
    assert bench.acks[0].desired_revision == 2
    assert {problem.problem.reason for problem in bench.acks[0].problems} == {"REMOVAL_GUARD"}
    assert len(bench.acks[0].problems) == 10
    bench.wait(59)
    assert bench.desired is None
    bench.wait(2)
    assert names(bench.desired) == set()


def test_three_of_ten_may_stop_at_once_and_four_may_not() -> None:
    bench = bench_with(RUNTIMES)
    bench.batch(1, 2, removals=tuple(removal(runtime, 2) for runtime in "abc"))
    assert names(bench.desired) == set("defghij")
    assert bench.acks[0].problems == ()
    bench = bench_with(RUNTIMES)
    bench.batch(1, 2, removals=tuple(removal(runtime, 2) for runtime in "abcd"))
    assert len(bench.acks[0].problems) == 4
    assert bench.desired is None


def test_the_only_instance_may_always_be_removed() -> None:
    bench = bench_with(("a",))
    bench.batch(1, 2, removals=(removal("a", 2),))
    assert "a" not in names(bench.desired)


def test_what_does_not_run_is_not_counted() -> None:
    bench = bench_with(("a", "b"))
    bench.batch(1, 2, removals=tuple(removal(runtime, 2) for runtime in "bcdefghij"))
    assert names(bench.desired) == {"a"}


def test_the_override_stops_at_once() -> None:
    bench = bench_with(RUNTIMES)
    bench.batch(1, 2, snapshot=True, from_revision=0, removal_override=True)
    assert names(bench.desired) == set()
    assert bench.acks[0].problems == ()


def test_the_override_also_lets_go_of_what_was_held() -> None:
    bench = bench_with(RUNTIMES)
    bench.batch(1, 2, snapshot=True, from_revision=0)
    bench.batch(2, 3, removal_override=True)
    assert names(bench.desired) == set()


def test_what_is_declared_again_goes_on_running() -> None:
    bench = bench_with(RUNTIMES)
    bench.batch(1, 2, snapshot=True, from_revision=0)
    bench.batch(2, 3, wanted("a", 3))
    bench.wait(61)
    assert names(bench.desired) == {"a"}


def test_many_small_removals_while_others_are_held_wait_too() -> None:
    bench = bench_with(RUNTIMES)
    bench.batch(1, 2, removals=tuple(removal(runtime, 2) for runtime in "abcd"))
    bench.batch(2, 3, removals=(removal("e", 3),))
    assert [problem.name for problem in bench.acks[1].problems] == [name_of("e")]
    assert bench.desired is None
