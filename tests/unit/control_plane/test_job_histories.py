"""Jobs in histories that nobody thought of: nodes that fail and vanish, operators who change their mind, kills."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.domain.ids import JobId, ModelId
from control_plane.domain.instance import Instance, InstanceState
from control_plane.domain.jobs.begin import Touch
from control_plane.domain.jobs.facts import Facts
from control_plane.domain.jobs.job import Job, JobKind, JobOrder, JobStage, JobState
from control_plane.domain.jobs.steps import next_step
from control_plane.domain.problem import Problem
from control_plane.domain.runtime import DesiredState, Runtime, RuntimeSpec
from control_plane.domain.view import view_of
from tests.fakes.clock import NOON
from tests.fakes.control_plane import a_budget, a_runtime, a_spec, an_instance
from tests.fakes.jobs import CHAT, LIMIT

PROBLEM = Problem("ENGINE_EXITED", "It ended.")


@dataclass(frozen=True)
class Move:
    """What happens between two looks."""

    state: InstanceState | None
    """What the node says; None: nothing."""
    behind: int
    launches: int
    broken: bool
    online: bool
    seconds: int
    declares: bool
    stops: bool
    cancels: bool
    deletes: bool


def _rarely() -> st.SearchStrategy[bool]:
    return st.sampled_from([False] * 11 + [True])


MOVES = st.lists(
    st.builds(
        Move,
        state=st.none() | st.sampled_from(InstanceState),
        behind=st.integers(0, 1),
        launches=st.integers(0, 1),
        broken=st.booleans(),
        online=st.sampled_from([True, True, True, False]),
        seconds=st.integers(0, 400),
        declares=_rarely(),
        stops=_rarely(),
        cancels=_rarely(),
        deletes=_rarely(),
    ),
    max_size=12,
)


@dataclass
class History:
    job: Job
    runtime: Runtime | None
    instance: Instance | None = None
    now_s: int = 0
    foreign: RuntimeSpec | None = None
    """What an operator declared after the job had begun."""
    declared: int = 0
    restored: int = 0

    def happens(self, move: Move) -> None:
        self.now_s += move.seconds
        if self.runtime is not None:
            self._changed(self.runtime, move)
        if move.state is not None and self.runtime is not None:
            before = self.instance.incarnation if self.instance else 1
            self.instance = an_instance(
                state=move.state if move.online else InstanceState.UNKNOWN,
                observed_generation=self.runtime.generation - move.behind,
                incarnation=before + move.launches,
                problem=PROBLEM if move.broken else None,
                restart_budget=a_budget(3 if move.broken else 0),
            )
        if move.cancels:
            self.job = replace(self.job, cancel_requested=True)

    def _changed(self, runtime: Runtime, move: Move) -> None:
        if move.declares:
            self.foreign = a_spec(display_name=f"at {self.now_s}")
            runtime = replace(runtime, spec=self.foreign, generation=runtime.generation + 1)
        if move.stops:
            runtime = replace(runtime, desired_state=DesiredState.STOPPED)
        self.runtime = None if move.deletes else runtime

    def goes_on(self) -> None:
        """Until nothing more is to be done now. Nothing but job and runtime is known from one step to the next."""
        for _ in range(6):
            now = NOON + timedelta(seconds=self.now_s)
            view = view_of(self.runtime, self.instance, online=True) if self.runtime else None
            step = next_step(self.job, Facts(view, now, contact=now, online=True))
            if step is None:
                return
            self._holds(step.job)
            self.job = step.job
            if step.runtime is not None:
                assert step.touch is not None
                self.declared += step.touch is Touch.DECLARE
                self.restored += step.touch is Touch.RESTORE
                self.runtime = step.runtime
        pytest.fail("it never comes to rest")

    def _holds(self, after: Job) -> None:
        assert after.progress_percent >= self.job.progress_percent
        assert (after.end_time is not None) == after.state.over
        assert not (self.job.stage is JobStage.ROLLING_BACK and after.stage is JobStage.FORWARD)


ORDERS = st.builds(
    JobOrder,
    kind=st.sampled_from(JobKind),
    runtime=st.just(CHAT),
    time_limit=st.just(LIMIT),
    restart=st.booleans(),
    reset_budget=st.booleans(),
    model=st.sampled_from([ModelId("other"), ModelId("tiny")]),
)


@given(ORDERS, MOVES, st.sampled_from([DesiredState.RUNNING, DesiredState.STOPPED]))
def test_every_job_ends_and_what_it_did_is_what_it_says(
    order: JobOrder, moves: list[Move], wanted: DesiredState
) -> None:
    runtime = a_runtime(node="n1", desired_state=wanted)
    job = Job(JobId("j"), order, "local", runtime.uid, NOON, NOON + order.time_limit)
    history = History(job, runtime, an_instance(observed_generation=1, incarnation=1))
    history.goes_on()
    for move in moves:
        history.happens(move)
        history.goes_on()
    for _ in range(2):
        history.now_s += int(LIMIT.total_seconds())
        history.goes_on()
    _judge(history, runtime)


def _judge(history: History, before: Runtime) -> None:
    job, runtime = history.job, history.runtime
    assert job.state.over, "its time and that of a rollback are over"
    assert history.restored <= 1
    assert history.declared <= (2 if job.order.kind is JobKind.SWAP_MODEL else 0)
    assert (job.problem is None) == (job.state in (JobState.SUCCEEDED, JobState.CANCELLED)) or job.cancel_requested
    if runtime is None:
        return
    if job.rolled_back is not None or (job.state is JobState.CANCELLED and history.declared):
        assert job.previous is not None
        assert (runtime.spec == job.previous) or history.foreign is not None
    if history.foreign is not None:
        assert runtime.spec.display_name, "what an operator declared last is never undone"
    if history.declared == 0 and history.foreign is None:
        assert runtime.spec == before.spec
