from __future__ import annotations

from node_agent.control_link.actions import Leave
from node_agent.control_link.messages import Heartbeat, Hello, Wanted
from node_agent.domain.digest import digest
from node_agent.domain.spec import InstanceSpec
from node_agent.domain.status import Problem
from tests.fakes.agent_bench import (
    HISTORY,
    AgentBench,
    MemoryDesired,
    a_spec,
    digest_of,
    name_of,
    removal,
    wanted,
)


def opened(**given: object) -> AgentBench:
    bench = AgentBench(**given)  # type: ignore[arg-type]
    bench.welcome()
    return bench


def with_stored(*specs: InstanceSpec, revision: int, **given: object) -> AgentBench:
    return opened(disk=MemoryDesired(HISTORY, revision, {spec.name: spec for spec in specs}), **given)


def test_hello_tells_what_is_stored() -> None:
    bench = with_stored(a_spec("a", 3), revision=5)
    (hello,) = bench.said(Hello)
    assert isinstance(hello, Hello)
    assert (hello.history_id, hello.desired_revision) == (HISTORY, 5)
    assert hello.desired_digest == digest([a_spec("a", 3)])


def test_a_cold_agent_says_that_it_has_nothing() -> None:
    (hello,) = AgentBench().said(Hello)
    assert isinstance(hello, Hello)
    assert (hello.history_id, hello.desired_revision) == ("", 0)


def test_a_snapshot_is_stored_acknowledged_and_wanted() -> None:
    bench = opened()
    bench.batch(
        1, 4, wanted("a", 2), wanted("b", 4), snapshot=True, digest_after=digest_of(a_spec("a", 2), a_spec("b", 4))
    )
    assert (bench.disk.history_id, bench.disk.revision) == (HISTORY, 4)
    (ack,) = bench.acks
    assert (ack.nonce, ack.desired_revision, ack.problems) == (1, 4, ())
    assert ack.desired_digest == digest_of(a_spec("a", 2), a_spec("b", 4))
    assert bench.desired is not None
    assert {spec.name for spec in bench.desired} == {name_of("a"), name_of("b")}
    assert bench.session.in_sync


def outdated(*specs: InstanceSpec, revision: int, **given: object) -> AgentBench:
    """An older store was put back."""
    disk = MemoryDesired(HISTORY, revision, {spec.name: spec for spec in specs}, outdated=True)
    return opened(disk=disk, **given)


def test_an_outdated_store_is_acted_on_only_once_the_control_plane_has_spoken() -> None:
    bench = outdated(a_spec("a", 3), revision=3, left_running=("a", "b"))
    (hello,) = bench.said(Hello)
    assert isinstance(hello, Hello)
    assert (hello.history_id, hello.desired_revision) == (HISTORY, 3), "what follows it is enough"
    assert acted_on(bench) is None
    bench.batch(1, 5, wanted("b", 5), digest_after=digest_of(a_spec("a", 3), a_spec("b", 5)))
    assert acted_on(bench) == {name_of("a"), name_of("b")}
    assert bench.session.in_sync


def acted_on(bench: AgentBench) -> set[str] | None:
    return None if bench.desired is None else {spec.name for spec in bench.desired}


def test_an_outdated_store_to_which_nothing_is_added_counts_again() -> None:
    bench = outdated(a_spec("a", 3), revision=3)
    bench.batch(1, 3, digest_after=digest_of(a_spec("a", 3)))
    assert bench.desired == (a_spec("a", 3),)
    assert bench.disk.writes == 1, "so that the next agent believes it too"


def test_engines_that_an_outdated_store_does_not_name_are_guarded_like_any_other() -> None:
    bench = outdated(revision=3, left_running=("a", "b", "c"))
    bench.batch(1, 5)
    assert bench.desired == ()
    assert bench.held == (name_of("a"), name_of("b"), name_of("c"))


def test_the_revision_advances_only_with_the_last_chunk() -> None:
    bench = opened()
    bench.batch(1, 4, wanted("a", 2), snapshot=True, last_chunk=False)
    assert (bench.disk.revision, bench.acks[0].desired_revision) == (0, 0)
    assert name_of("a") in bench.disk.specs
    assert not bench.session.in_sync
    bench.batch(2, 4, wanted("b", 4), snapshot=True)
    assert (bench.disk.revision, bench.acks[1].desired_revision) == (4, 4)


def test_parts_of_a_cut_snapshot_stay_and_the_next_hello_still_asks() -> None:
    bench = opened()
    bench.batch(1, 4, wanted("a", 2), snapshot=True, last_chunk=False)
    bench.start()
    (hello,) = bench.said(Hello)
    assert isinstance(hello, Hello)
    assert hello.desired_revision == 0
    assert name_of("a") in bench.disk.specs
    bench.welcome()
    bench.batch(1, 4, wanted("b", 4), snapshot=True)
    assert set(bench.disk.specs) == {name_of("b")}


def test_a_snapshot_removes_what_it_does_not_name_only_at_its_end() -> None:
    bench = with_stored(a_spec("a", 1), a_spec("b", 2), revision=2)
    bench.batch(1, 6, wanted("c", 5), snapshot=True, last_chunk=False)
    assert len(bench.disk.specs) == 3
    bench.batch(2, 6, wanted("b", 2), snapshot=True)
    assert set(bench.disk.specs) == {name_of("b"), name_of("c")}


def test_a_delta_changes_and_removes_what_it_names() -> None:
    bench = with_stored(a_spec("a", 1), a_spec("b", 2), revision=2)
    bench.batch(1, 4, wanted("a", 3, generation=2), removals=(removal("b", 4),))
    assert set(bench.disk.specs) == {name_of("a")}
    assert bench.disk.specs[name_of("a")].generation == 2
    assert bench.disk.revision == 4


def test_a_bookmark_moves_the_revision_and_disturbs_nobody() -> None:
    bench = with_stored(a_spec("a", 1), revision=2)
    bench.batch(1, 9)
    assert (bench.disk.revision, bench.acks[0].desired_revision) == (9, 9)
    assert bench.desired is None


def test_an_older_resource_or_removal_changes_nothing() -> None:
    bench = with_stored(a_spec("a", 5), revision=5)
    bench.batch(1, 6, wanted("a", 4, generation=9), from_revision=3)
    bench.batch(2, 6, removals=(removal("a", 5),), from_revision=3)
    assert bench.disk.specs[name_of("a")].revision == 5
    assert [ack.problems for ack in bench.acks] == [(), ()]


def test_a_batch_with_an_old_nonce_is_dropped_without_an_answer() -> None:
    bench = opened()
    bench.batch(2, 3, wanted("a", 3), snapshot=True)
    bench.batch(2, 5, wanted("b", 5))
    bench.batch(1, 5, wanted("b", 5))
    assert len(bench.acks) == 1
    assert set(bench.disk.specs) == {name_of("a")}


def test_a_batch_older_than_what_is_stored_is_refused_as_stale() -> None:
    bench = with_stored(a_spec("a", 5), revision=5)
    bench.batch(1, 4, snapshot=True, from_revision=0)
    (ack,) = bench.acks
    assert [problem.problem.reason for problem in ack.problems] == ["STALE_REVISION"]
    assert (ack.desired_revision, bench.disk.revision) == (5, 5)
    assert set(bench.disk.specs) == {name_of("a")}


def test_one_name_twice_in_a_batch_is_refused() -> None:
    bench = opened()
    bench.batch(1, 3, wanted("a", 2), wanted("a", 3), snapshot=True)
    bench.batch(2, 3, wanted("a", 2), removals=(removal("a", 3),), from_revision=0)
    assert [ack.problems[0].problem.reason for ack in bench.acks] == ["PROTOCOL_VIOLATION"] * 2
    assert bench.acks[0].problems[0].name == name_of("a")
    assert not bench.disk.specs
    assert bench.disk.revision == 0


def test_a_delta_with_a_gap_makes_the_agent_ask_again() -> None:
    bench = with_stored(a_spec("a", 1), revision=2)
    bench.batch(1, 9, wanted("b", 8), from_revision=7)
    assert bench.disk.revision == 2
    assert not bench.acks
    assert bench.ended


def test_a_refused_resource_keeps_its_last_good_spec_and_the_rest_is_stored() -> None:
    missing = Problem("MODEL_FILE_MISSING", "There is no file.", "Copy it.")
    bench = with_stored(a_spec("a", 1), revision=1, admit=lambda spec: missing if spec.name == name_of("a") else None)
    bench.batch(1, 3, wanted("a", 2, generation=2), wanted("b", 3), digest_after=b"the control plane's own")
    (ack,) = bench.acks
    assert [(problem.name, problem.generation, problem.problem.reason) for problem in ack.problems] == [
        (name_of("a"), 2, "MODEL_FILE_MISSING")
    ]
    assert ack.desired_revision == 3
    assert bench.disk.specs[name_of("a")].generation == 1
    assert name_of("b") in bench.disk.specs
    # Its digest differs for a known reason, so nothing is asked again.
    assert not bench.ended


def test_fifty_resources_with_one_bad_one_cost_one_problem_each_generation() -> None:
    bad = Problem("SPEC_INVALID", "No.", "")
    bench = opened(admit=lambda spec: bad if spec.name == name_of("r7") else None)
    bench.batch(1, 50, *(wanted(f"r{number}", number + 1) for number in range(50)), snapshot=True)
    assert len(bench.disk.specs) == 49
    assert len(bench.acks) == 1
    assert len(bench.acks[0].problems) == 1


def test_a_resource_that_makes_no_sense_is_refused_without_asking_the_supervisor() -> None:
    asked: list[InstanceSpec] = []
    bench = opened(admit=asked.append)
    problem = Problem("SPEC_INVALID", "Of an unknown kind.", "Update.")
    bench.batch(1, 3, Wanted(name_of("a"), 1, 3, problem), snapshot=True)
    assert bench.acks[0].problems[0].problem == problem
    assert not asked
    assert bench.disk.revision == 3


def test_a_refused_resource_is_taken_once_its_cause_is_gone() -> None:
    problems: list[Problem] = [Problem("MODEL_FILE_MISSING", "There is no file.", "Copy it.")]
    bench = opened(admit=lambda _spec: problems[0] if problems else None)
    bench.batch(1, 3, wanted("a", 3), snapshot=True)
    bench.wait(29)
    assert not bench.disk.specs
    problems.clear()
    bench.wait(31)
    assert name_of("a") in bench.disk.specs
    assert bench.desired is not None
    assert bench.acks[-1].problems == ()
    assert bench.disk.revision == 3


def test_a_removed_resource_is_no_problem_any_more() -> None:
    bad = Problem("SPEC_INVALID", "No.", "")
    bench = opened(admit=lambda _spec: bad)
    bench.batch(1, 3, wanted("a", 3), snapshot=True)
    bench.batch(2, 4, removals=(removal("a", 4),))
    assert not bench.keeper.refused
    bench.batch(3, 5, wanted("b", 5))
    bench.batch(4, 6, snapshot=True)
    assert not bench.keeper.refused


def test_another_history_removes_nothing_and_changes_nothing() -> None:
    bench = AgentBench(disk=MemoryDesired(HISTORY, 5, {name_of("a"): a_spec("a", 5)}))
    bench.welcome("history-2")
    bench.batch(1, 1, wanted("b", 1), snapshot=True, from_revision=0)
    (ack,) = bench.acks
    assert [problem.problem.reason for problem in ack.problems] == ["HISTORY_CHANGED"]
    assert "accept-history history-2" in ack.problems[0].problem.remedy
    assert set(bench.disk.specs) == {name_of("a")}
    assert (bench.disk.history_id, bench.disk.revision) == (HISTORY, 5)
    assert bench.session.history_changed


def test_an_accepted_history_replaces_everything_at_once() -> None:
    bench = AgentBench(disk=MemoryDesired(HISTORY, 5, {name_of("a"): a_spec("a", 5)}))
    bench.welcome("history-2")
    bench.keeper.accept("history-2")
    bench.perform(bench.session.history_accepted())
    assert bench.ended
    bench.dial()
    (hello,) = bench.said(Hello)
    assert isinstance(hello, Hello)
    assert (hello.history_id, hello.desired_revision) == ("", 0)
    bench.welcome("history-2")
    bench.batch(1, 2, wanted("b", 1), snapshot=True, last_chunk=False, from_revision=0)
    assert set(bench.disk.specs) == {name_of("a")}
    bench.batch(2, 2, wanted("a", 2), snapshot=True, from_revision=0)
    assert (bench.disk.history_id, bench.disk.revision) == ("history-2", 2)
    assert {spec.name: spec.revision for spec in bench.disk.specs.values()} == {name_of("a"): 2, name_of("b"): 1}
    assert not bench.session.history_changed


def test_a_differing_digest_asks_for_everything_once() -> None:
    bench = with_stored(a_spec("a", 1), a_spec("ghost", 1), revision=2)
    bench.batch(1, 3, wanted("b", 3), digest_after=digest_of(a_spec("a", 1), a_spec("b", 3)))
    assert len(bench.acks) == 1
    assert [type(action) for action in bench.actions if isinstance(action, Leave)] == [Leave]
    bench.dial()
    (hello,) = bench.said(Hello)
    assert isinstance(hello, Hello)
    assert (hello.history_id, hello.desired_revision) == ("", 0)
    bench.welcome()
    whole = digest_of(a_spec("a", 1), a_spec("b", 3))
    bench.batch(1, 3, wanted("a", 1), wanted("b", 3), snapshot=True, digest_after=whole, from_revision=0)
    assert not bench.ended
    assert bench.acks[-1].desired_digest == whole
    assert set(bench.disk.specs) == {name_of("a"), name_of("b")}


def test_a_digest_that_never_fits_makes_no_loop() -> None:
    bench = opened()
    bench.batch(1, 3, wanted("a", 3), snapshot=True, digest_after=b"wrong")
    assert bench.ended
    bench.dial()
    bench.welcome()
    bench.batch(1, 3, wanted("a", 3), snapshot=True, digest_after=b"wrong", from_revision=0)
    assert not bench.ended


def test_nothing_is_acknowledged_that_could_not_be_stored() -> None:
    bench = with_stored(a_spec("a", 1), revision=1)
    bench.break_disk()
    bench.batch(1, 3, wanted("b", 2), last_chunk=False)
    bench.repair_disk()
    bench.batch(2, 3, wanted("c", 3))
    assert [ack.problems[0].problem.reason for ack in bench.acks] == ["STORAGE_UNAVAILABLE"] * 2
    assert [ack.desired_revision for ack in bench.acks] == [1, 1]
    assert set(bench.disk.specs) == {name_of("a")}
    assert bench.desired is None
    assert not bench.session.in_sync
    bench.wait(9)
    assert not bench.ended
    assert bench.said(Heartbeat)
    bench.wait(2)
    assert bench.ended


def test_batches_are_handled_one_after_the_other() -> None:
    bench = opened()
    bench.batch(1, 3, wanted("a", 3), snapshot=True)
    for nonce in range(2, 40):
        bench.batch(nonce, nonce + 2, wanted("a", nonce + 2, generation=nonce))
    assert [ack.nonce for ack in bench.acks] == list(range(1, 40))
    assert bench.disk.specs[name_of("a")].revision == 41
