from __future__ import annotations

from dataclasses import replace

from node_agent.control_link.messages import AllowedRemoval
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
    assert names(bench.desired) == set(RUNTIMES)
    assert set(bench.held) == {name_of(runtime) for runtime in RUNTIMES}
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
    assert names(bench.desired) == set(RUNTIMES)
    assert bench.held == tuple(name_of(runtime) for runtime in "abcd")


def test_the_only_instance_may_always_be_removed() -> None:
    bench = bench_with(("a",))
    bench.batch(1, 2, removals=(removal("a", 2),))
    assert "a" not in names(bench.desired)


def test_what_does_not_run_is_not_counted() -> None:
    bench = bench_with(("a", "b"))
    bench.batch(1, 2, removals=tuple(removal(runtime, 2) for runtime in "bcdefghij"))
    assert names(bench.desired) == {"a"}


def allowed(*runtimes: str, spec_revision: int = 1) -> tuple[AllowedRemoval, ...]:
    return tuple(AllowedRemoval(name_of(runtime), spec_revision) for runtime in runtimes)


def test_what_an_operator_allows_stops_at_once_and_the_rest_stays_held() -> None:
    bench = bench_with(RUNTIMES)
    bench.batch(1, 2, snapshot=True, from_revision=0)
    assert {problem.spec_revision for problem in bench.acks[0].problems} == {1}
    bench.batch(2, 2, allowed_removals=allowed(*"abcdefgh"))
    assert names(bench.desired) == set("ij")
    assert [problem.name for problem in bench.acks[1].problems] == [name_of("i"), name_of("j")]
    bench.start()
    assert {held.name for held in bench.guard.held} == {name_of("i"), name_of("j")}


def test_an_allowance_lets_no_removal_through_that_comes_with_it() -> None:
    bench = bench_with(RUNTIMES)
    bench.batch(1, 2, removals=tuple(removal(runtime, 2) for runtime in "abcd"))
    bench.batch(2, 3, removals=(removal("e", 3), removal("f", 3)), allowed_removals=allowed("a"))
    assert [held.name for held in bench.guard.held] == [name_of(runtime) for runtime in "bcdef"]


def test_an_allowance_counts_only_for_the_spec_that_was_held_then() -> None:
    bench = bench_with(RUNTIMES)
    bench.batch(1, 2, snapshot=True, from_revision=0)
    bench.batch(2, 3, *(wanted(runtime, 3) for runtime in RUNTIMES))
    assert bench.guard.held == ()
    bench.batch(3, 4, snapshot=True, from_revision=0)
    bench.batch(4, 4, allowed_removals=allowed(*RUNTIMES))
    assert len(bench.guard.held) == 10
    bench.batch(5, 4, allowed_removals=allowed(*RUNTIMES, spec_revision=3))
    assert bench.guard.held == ()


def test_what_is_allowed_and_was_never_held_changes_nothing() -> None:
    bench = bench_with(RUNTIMES)
    bench.batch(1, 1, allowed_removals=allowed(*RUNTIMES))
    assert bench.disk.writes == 0
    assert bench.desired is None
    bench.batch(2, 2, snapshot=True, from_revision=0)
    assert len(bench.guard.held) == 10


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
    assert [problem.name for problem in bench.acks[1].problems] == [name_of(runtime) for runtime in "abcde"]
    assert names(bench.desired) == set(RUNTIMES)


def test_what_is_held_stays_held_when_the_agent_dies_meanwhile() -> None:
    bench = bench_with(RUNTIMES)
    bench.batch(1, 2, snapshot=True, from_revision=0)
    bench.now = 30.0
    bench.start()
    assert names(bench.guard.desire(bench.keeper.specs).specs) == set(RUNTIMES)
    bench.welcome()
    bench.batch(1, 2)
    assert len(bench.acks[0].problems) == 10
    bench.wait(29)
    assert names(bench.desired) == set(RUNTIMES)
    bench.wait(2)
    assert names(bench.desired) == set()
    assert bench.acks[-1].problems == ()


def test_what_was_let_go_does_not_come_back_with_the_next_agent() -> None:
    bench = bench_with(RUNTIMES)
    bench.batch(1, 2, snapshot=True, from_revision=0)
    bench.wait(61)
    bench.start()
    assert bench.guard.held == ()


def test_a_boot_ends_every_hold_because_nothing_runs_after_it() -> None:
    bench = bench_with(RUNTIMES)
    bench.batch(1, 2, snapshot=True, from_revision=0)
    bench.me = replace(bench.me, boot_id="another boot")
    bench.start()
    assert bench.guard.held == ()


def test_nothing_is_let_go_before_a_new_stream_said_what_is_wanted() -> None:
    bench = bench_with(RUNTIMES)
    bench.batch(1, 2, snapshot=True, from_revision=0)
    bench.now = 500.0
    bench.dial()
    bench.welcome()
    bench.wait(5)
    assert names(bench.desired) == set(RUNTIMES)
    assert len(bench.held) == 10
    bench.batch(1, 3, *(wanted(runtime, 3) for runtime in RUNTIMES))
    assert names(bench.desired) == set(RUNTIMES)
    assert bench.guard.held == ()


def test_a_disk_that_is_full_keeps_what_is_held() -> None:
    bench = bench_with(RUNTIMES)
    bench.batch(1, 2, snapshot=True, from_revision=0)
    bench.break_disk()
    bench.wait(65)
    assert names(bench.desired) == set(RUNTIMES)
    assert len(bench.guard.held) == 10


def lost(left_running: tuple[str, ...] = RUNTIMES) -> AgentBench:
    """An agent without its database, on a machine where an earlier one left engines."""
    bench = AgentBench(left_running=left_running)
    bench.welcome()
    return bench


def test_an_agent_that_lost_its_records_stops_nothing_for_an_empty_snapshot() -> None:
    bench = lost()
    bench.batch(1, 2, snapshot=True)
    assert names(bench.desired) == set()
    assert set(bench.held) == {name_of(runtime) for runtime in RUNTIMES}
    assert {problem.problem.reason for problem in bench.acks[0].problems} == {"REMOVAL_GUARD"}
    bench.start()
    assert len(bench.guard.held) == 10
    bench.welcome()
    bench.batch(1, 2)
    bench.wait(61)
    assert bench.held == ()


def test_an_agent_that_lost_its_records_waits_for_the_whole_set() -> None:
    bench = lost()
    bench.batch(1, 2, *(wanted(runtime, 2) for runtime in "abcde"), snapshot=True, last_chunk=False)
    assert bench.desired is None
    bench.batch(2, 2, *(wanted(runtime, 2) for runtime in "fghij"), snapshot=True)
    assert names(bench.desired) == set(RUNTIMES)
    assert bench.held == ()


def test_what_was_not_taken_over_yet_counts_as_running() -> None:
    specs = {name_of(runtime): a_spec(runtime, 1) for runtime in RUNTIMES}
    bench = AgentBench(disk=MemoryDesired(HISTORY, 1, specs), left_running=RUNTIMES)
    bench.welcome()
    bench.batch(1, 2, removals=tuple(removal(runtime, 2) for runtime in RUNTIMES))
    assert names(bench.desired) == set(RUNTIMES)
    assert len(bench.guard.held) == 10
