"""Whatever happens: plan and apply converge, a second plan is empty, nothing runs twice, restores act once."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from node_agent.domain.budget import Budget
from node_agent.domain.limits import Denial
from node_agent.domain.observed import Observed, Phase, attempt_key, launch_key
from node_agent.domain.plan import plan
from node_agent.domain.restart import backoff
from node_agent.domain.spec import DesiredState, EngineSettings, InstanceName, InstanceSpec, RestoreOrder
from node_agent.domain.status import Problem
from node_agent.domain.step import (
    Abandon,
    Acknowledge,
    Adopt,
    Cause,
    Deny,
    Fail,
    Forget,
    Reclaim,
    ResetBudget,
    Restart,
    Retry,
    Start,
    Step,
    Stop,
    Switch,
)
from node_agent.domain.timers import REAL
from tests.fakes.instance_specs import spec

NAMES = [InstanceName(f"nodes/n/instances/{letter}") for letter in "ab"]
names = st.sampled_from(NAMES)
PLANS_TO_REST = 6


class ModelOwner:
    """What an owner does with steps, without processes."""

    def __init__(self, name: InstanceName) -> None:
        self.name = name
        self.phase, self.key, self.serial, self.budget = Phase.DOWN, "", 0, Budget()
        self.retry_at: datetime | None = None
        self.hopeless, self.failures = False, 0
        self.denied: Problem | None = None
        self.running = False
        self.good: InstanceSpec | None = None
        self.heir: InstanceSpec | None = None
        """What starts beside it."""
        self.heir_ready, self.refused = False, ""
        self.ready_since = datetime(2026, 11, 20, tzinfo=UTC)

    def observed(self) -> Observed:
        denied = self.denied if self.phase is Phase.DENIED else None
        return Observed(
            self.name,
            self.phase,
            self.key,
            self.serial,
            self.budget,
            self.retry_at,
            self.hopeless,
            denied,
            good=self.good,
            successor=launch_key(self.heir) if self.heir else "",
            successor_ready=self.heir_ready,
            refused=self.refused,
        )

    def switch(self) -> None:
        """What starts beside it has its place."""
        assert self.heir is not None
        assert self.heir_ready
        self.key, self.good, self.refused = launch_key(self.heir), self.heir, ""
        self.running, self.phase, self.hopeless = True, Phase.UP, False
        self.abandon()

    def abandon(self) -> None:
        self.heir, self.heir_ready = None, False


class Plans(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = datetime(2026, 11, 20, tzinfo=UTC)
        self.desired: dict[InstanceName, InstanceSpec] = {}
        self.owners: dict[InstanceName, ModelOwner] = {}
        self.automatic: dict[InstanceName, list[datetime]] = {name: [] for name in NAMES}
        self.denials: dict[InstanceName, Denial] = {}
        self.room = True
        """For two engines of an instance at once."""

    @rule(name=names, slots=st.integers(1, 3), stopped=st.booleans(), auto=st.booleans())
    def declare(self, name: InstanceName, slots: int, stopped: bool, auto: bool) -> None:
        before = self.desired.get(name)
        self.desired[name] = spec(
            name=name,
            generation=before.generation + 1 if before else 1,
            settings=EngineSettings(slots=slots),
            desired_state=DesiredState.STOPPED if stopped else DesiredState.RUNNING,
            auto_start=auto,
            restore=before.restore if before else RestoreOrder(),
        )

    @rule(name=names, restart=st.booleans(), reset=st.booleans())
    def restore(self, name: InstanceName, restart: bool, reset: bool) -> None:
        if name in self.desired:
            one = self.desired[name]
            order = RestoreOrder(one.restore.serial + 1, restart, reset)
            self.desired[name] = spec(
                name=name,
                settings=one.settings,
                auto_start=one.auto_start,
                desired_state=DesiredState.RUNNING,
                restore=order,
            )

    @rule(name=names, why=st.sampled_from(["hours", "adapters"]), seconds=st.none() | st.integers(0, 90))
    def owner_denies(self, name: InstanceName, why: str, seconds: int | None) -> None:
        stop_at = None if seconds is None else self.now + timedelta(seconds=seconds)
        self.denials[name] = Denial(Problem("LOCAL_POLICY_DENIED", why), stop_at)

    @rule(name=names)
    def owner_permits(self, name: InstanceName) -> None:
        self.denials.pop(name, None)

    @rule(name=names)
    def remove(self, name: InstanceName) -> None:
        self.desired.pop(name, None)

    @rule(name=names, ready=st.integers(0, 30), hopeless=st.booleans())
    def engine_ends(self, name: InstanceName, ready: int, hopeless: bool) -> None:
        owner = self.owners.get(name)
        if owner is not None and owner.running:
            owner.running, owner.phase, owner.hopeless = False, Phase.EXITED, hopeless
            owner.ready_since = self.now - timedelta(seconds=ready)

    @rule(room=st.booleans())
    def room_comes_and_goes(self, room: bool) -> None:
        self.room = room

    @rule(name=names)
    def successor_gets_ready(self, name: InstanceName) -> None:
        owner = self.owners.get(name)
        if owner is not None and owner.heir is not None:
            owner.heir_ready = True

    @rule(name=names)
    def successor_comes_to_nothing(self, name: InstanceName) -> None:
        owner = self.owners.get(name)
        if owner is not None and owner.heir is not None:
            owner.refused = attempt_key(owner.heir)
            owner.abandon()

    @rule(name=names)
    def start_is_blocked(self, name: InstanceName) -> None:
        owner = self.owners.get(name)
        if owner is not None and owner.running:
            owner.running, owner.phase, owner.retry_at = False, Phase.BLOCKED, self.now + REAL.recheck

    @rule()
    def agent_restarts(self) -> None:
        for owner in self.owners.values():
            owner.phase = Phase.FOUND
            owner.abandon()

    @rule(seconds=st.integers(1, 400))
    def time_passes(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @rule()
    def reconcile(self) -> None:
        for name in self.desired:
            self.owners.setdefault(name, ModelOwner(name))
        for _ in range(PLANS_TO_REST):
            for step in self.planned():
                self.apply(step)
        assert self.planned() == []
        self.check_convergence()

    def planned(self) -> list[Step]:
        denied = {
            name: denial
            for name, denial in self.denials.items()
            if name in self.desired and self.desired[name].desired_state is DesiredState.RUNNING
        }
        observed = [one.observed() for one in self.owners.values()]
        return plan(list(self.desired.values()), observed, self.now, denied)

    def check_convergence(self) -> None:
        for owner in self.owners.values():
            one = self.desired[owner.name]
            assert owner.running == (owner.phase is Phase.UP)
            assert owner.serial == one.restore.serial
            if one.desired_state is DesiredState.STOPPED:
                assert owner.phase is Phase.DOWN
                assert owner.heir is None
            elif (denial := self.denials.get(owner.name)) is not None:
                over = denial.stop_at is not None and self.now >= denial.stop_at
                assert not (owner.running and over)
            elif owner.heir is not None:
                assert launch_key(owner.heir) == launch_key(one)
                assert not owner.heir_ready
            elif owner.running:
                assert owner.key == launch_key(one) or owner.refused == attempt_key(one)
            else:
                assert owner.phase in (Phase.WAITING, Phase.BLOCKED, Phase.FAILED)
        assert self.desired.keys() == self.owners.keys()

    def apply(self, step: Step) -> None:  # noqa: C901, PLR0912 - one case a step
        owner = self.owners[step.name]
        match step:
            case Adopt():
                owner.phase = Phase.UP if owner.running else Phase.DOWN
            case Start(one, cause):
                self.start(owner, one, cause)
            case Restart(one, cause):
                self.restart(owner, one, cause)
            case Switch():
                owner.switch()
            case Abandon():
                assert owner.heir is not None
                owner.abandon()
            case Stop():
                owner.abandon()
                owner.running, owner.phase, owner.retry_at = False, Phase.DOWN, None
            case Retry():
                wait = backoff(owner.failures, self.now - owner.ready_since, REAL, 0.5)
                owner.failures, owner.phase, owner.retry_at = wait.failures, Phase.WAITING, self.now + wait.delay
            case Fail():
                owner.phase = Phase.FAILED
            case ResetBudget():
                owner.budget, self.automatic[step.name] = Budget(), []
            case Acknowledge(_, serial):
                assert serial != owner.serial
                owner.serial = serial
            case Deny(name, problem):
                assert not owner.running
                assert name in self.denials
                owner.phase, owner.denied, owner.retry_at = Phase.DENIED, problem, None
            case Reclaim(_, problem):
                assert owner.running, "nothing runs that could be reclaimed"
                owner.running, owner.phase, owner.denied = False, Phase.DENIED, problem
                owner.abandon()
            case Forget():
                assert not owner.running
                del self.owners[step.name]
                self.automatic[step.name] = []

    def restart(self, owner: ModelOwner, one: InstanceSpec, cause: Cause) -> None:
        owner.abandon()
        if self.room and owner.key != launch_key(one):
            assert owner.name not in self.denials, "started against the owner's word"
            assert owner.refused != attempt_key(one) or cause is Cause.RESTORED, "tried again unasked"
            owner.heir, owner.refused = one, ""
        else:
            owner.running = False
            self.start(owner, one, cause)

    def start(self, owner: ModelOwner, one: InstanceSpec, cause: Cause) -> None:
        assert not owner.running, "started twice"
        assert owner.name not in self.denials, "started against the owner's word"
        owner.abandon()
        owner.good = one
        owner.running, owner.phase, owner.key, owner.hopeless = True, Phase.UP, launch_key(one), False
        if cause is Cause.AUTOMATIC:
            owner.budget = owner.budget.spend(one.restart, self.now)
            self.automatic[owner.name].append(self.now)

    @invariant()
    def automatic_restarts_stay_within_the_budget(self) -> None:
        for times in self.automatic.values():
            for last in times:
                window = [time for time in times if last - timedelta(seconds=600) < time <= last]
                assert len(window) <= 3


TestPlans = Plans.TestCase
TestPlans.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_a_crash_loop_is_at_most_four_starts() -> None:
    owner, now, starts, failures = ModelOwner(NAMES[0]), datetime(2026, 11, 20, tzinfo=UTC), 0, 0
    wanted = [spec(name=NAMES[0])]
    for _ in range(50):
        for step in plan(wanted, [owner.observed()], now):
            match step:
                case Start(one, cause):
                    starts += 1
                    owner.budget = owner.budget.spend(one.restart, now) if cause is Cause.AUTOMATIC else owner.budget
                    owner.phase, owner.key = Phase.EXITED, launch_key(one)
                case Retry():
                    wait = backoff(failures, timedelta(), REAL, 0.5)
                    failures, owner.phase, owner.retry_at = wait.failures, Phase.WAITING, now + wait.delay
                case Fail(_, exhausted):
                    assert exhausted
                    owner.phase = Phase.FAILED
                case other:
                    pytest.fail(f"unexpected {other}")
        now += timedelta(seconds=1)
    assert (starts, owner.phase) == (4, Phase.FAILED)
