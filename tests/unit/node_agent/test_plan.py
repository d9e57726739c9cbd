from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from node_agent.domain.budget import Budget
from node_agent.domain.observed import Observed, Phase, attempt_key, launch_key
from node_agent.domain.plan import plan
from node_agent.domain.spec import (
    DesiredState,
    EngineSettings,
    ExecutionMode,
    ExecutionSettings,
    Hold,
    InstanceName,
    RestartPolicy,
    RestoreOrder,
)
from node_agent.domain.step import (
    Abandon,
    Acknowledge,
    Adopt,
    Cause,
    Fail,
    Forget,
    ResetBudget,
    Restart,
    Retry,
    Start,
    Stop,
    Switch,
)
from tests.fakes.instance_specs import NAME, spec

NOW = datetime(2026, 11, 20, tzinfo=UTC)
SPENT = Budget((NOW,) * 3)
STOPPED = spec(desired_state=DesiredState.STOPPED)


def seen(phase: Phase, **changes: Any) -> Observed:
    return Observed(NAME, phase, **{"launch_key": launch_key(spec()), **changes})


def test_what_is_wanted_and_not_there_is_started() -> None:
    assert plan([spec()], [], NOW) == [Start(spec(), Cause.DESIRED)]


@pytest.mark.parametrize("phase", [Phase.UP, Phase.BUSY])
def test_what_runs_as_wanted_is_left_alone(phase: Phase) -> None:
    assert plan([spec()], [seen(phase)], NOW) == []


def test_a_directory_is_looked_at_before_anything_is_decided() -> None:
    assert plan([spec()], [seen(Phase.FOUND)], NOW) == [Adopt(NAME)]
    assert plan([], [seen(Phase.FOUND)], NOW) == [Adopt(NAME)]


def test_what_nobody_wants_is_stopped_then_forgotten() -> None:
    assert plan([], [seen(Phase.UP)], NOW) == [Stop(NAME)]
    assert plan([], [seen(Phase.DOWN)], NOW) == [Forget(NAME)]


@pytest.mark.parametrize("phase", [Phase.UP, Phase.EXITED, Phase.WAITING, Phase.BLOCKED, Phase.FAILED])
def test_a_shut_down_runtime_comes_to_rest_from_everywhere(phase: Phase) -> None:
    assert plan([STOPPED], [seen(phase)], NOW) == [Stop(NAME)]


def test_a_change_that_the_engine_must_know_restarts_it() -> None:
    changed = spec(settings=EngineSettings(slots=4))
    assert plan([changed], [seen(Phase.UP)], NOW) == [Restart(changed, Cause.CHANGED)]


def test_other_modes_than_it_was_started_with_restart_it_and_their_order_is_none() -> None:
    changed = spec(execution=ExecutionSettings(preferred=ExecutionMode.CONTAINER))
    assert plan([changed], [seen(Phase.UP)], NOW) == [Restart(changed, Cause.CHANGED)]
    orders = (tuple(ExecutionMode), tuple(reversed(ExecutionMode)))
    assert len({launch_key(spec(execution=ExecutionSettings(frozenset(modes)))) for modes in orders}) == 1


def test_a_change_of_holds_or_policy_does_not_touch_the_engine() -> None:
    changed = spec(holds=frozenset({Hold("other", 9)}), restart=RestartPolicy(9), auto_start=False, generation=7)
    assert plan([changed], [seen(Phase.UP)], NOW) == []


def test_an_end_waits_for_its_back_off_while_the_budget_lasts() -> None:
    assert plan([spec()], [seen(Phase.EXITED)], NOW) == [Retry(NAME)]


def test_the_wait_over_it_is_started_automatically() -> None:
    waiting = seen(Phase.WAITING, retry_at=NOW)
    assert plan([spec()], [waiting], NOW - timedelta(seconds=1)) == []
    assert plan([spec()], [waiting], NOW) == [Start(spec(), Cause.AUTOMATIC)]


def test_an_exhausted_budget_is_a_failure() -> None:
    assert plan([spec()], [seen(Phase.EXITED, budget=SPENT)], NOW) == [Fail(NAME, exhausted=True)]


def test_without_auto_start_or_restore_nothing_restarts_by_itself() -> None:
    assert plan([spec(auto_start=False)], [seen(Phase.EXITED)], NOW) == [Fail(NAME, exhausted=False)]


def test_a_restore_by_hand_earns_automatic_restarts() -> None:
    by_hand = spec(auto_start=False, restore=RestoreOrder(1))
    assert plan([by_hand], [seen(Phase.EXITED, restore_serial=1)], NOW) == [Retry(NAME)]


def test_what_would_fail_the_same_way_is_not_tried_again() -> None:
    assert plan([spec()], [seen(Phase.EXITED, hopeless=True)], NOW) == [Fail(NAME, exhausted=False)]


def test_a_failed_one_stays_so_until_its_spec_changes() -> None:
    changed = spec(settings=EngineSettings(context_length=512))
    assert plan([spec()], [seen(Phase.FAILED)], NOW) == []
    assert plan([changed], [seen(Phase.FAILED)], NOW) == [Start(changed, Cause.CHANGED)]


def test_a_blocked_one_is_looked_at_again_when_due() -> None:
    blocked = seen(Phase.BLOCKED, retry_at=NOW)
    assert plan([spec()], [blocked], NOW - timedelta(seconds=1)) == []
    assert plan([spec()], [blocked], NOW) == [Start(spec(), Cause.DESIRED)]


def test_a_restore_of_what_runs_is_only_noted_unless_it_asks_for_a_restart() -> None:
    plain, forced = spec(restore=RestoreOrder(1)), spec(restore=RestoreOrder(1, restart=True))
    assert plan([plain], [seen(Phase.UP)], NOW) == [Acknowledge(NAME, 1)]
    assert plan([forced], [seen(Phase.UP)], NOW) == [Restart(forced, Cause.RESTORED), Acknowledge(NAME, 1)]


def test_a_restore_starts_a_failed_one_without_paying() -> None:
    wanted = spec(restore=RestoreOrder(1))
    assert plan([wanted], [seen(Phase.FAILED)], NOW) == [Start(wanted, Cause.RESTORED), Acknowledge(NAME, 1)]


def test_a_restore_on_an_exhausted_budget_is_noted_and_refused() -> None:
    wanted = spec(restore=RestoreOrder(1))
    assert plan([wanted], [seen(Phase.FAILED, budget=SPENT)], NOW) == [Acknowledge(NAME, 1)]


def test_a_restore_that_resets_the_budget_starts_it() -> None:
    wanted = spec(restore=RestoreOrder(2, reset_budget=True))
    steps = plan([wanted], [seen(Phase.FAILED, budget=SPENT, restore_serial=1)], NOW)
    assert steps == [ResetBudget(NAME), Start(wanted, Cause.RESTORED), Acknowledge(NAME, 2)]


def test_a_restore_acts_once() -> None:
    wanted = spec(restore=RestoreOrder(1, restart=True))
    assert plan([wanted], [seen(Phase.UP, restore_serial=1)], NOW) == []


CHANGED = spec(settings=EngineSettings(slots=4), generation=2)
BESIDE = {"successor": launch_key(CHANGED), "good": spec()}


@pytest.mark.parametrize("phase", [Phase.UP, Phase.EXITED])
def test_what_starts_beside_it_is_waited_for_and_then_has_its_place(phase: Phase) -> None:
    assert plan([CHANGED], [seen(phase, **BESIDE)], NOW) == []
    assert plan([CHANGED], [seen(phase, **BESIDE, successor_ready=True)], NOW) == [Switch(NAME)]


def test_what_starts_beside_it_and_is_not_wanted_any_more_is_given_up() -> None:
    assert plan([spec(generation=3)], [seen(Phase.UP, **BESIDE)], NOW) == [Abandon(NAME)]
    assert plan([STOPPED], [seen(Phase.UP, **BESIDE)], NOW) == [Stop(NAME)]
    assert plan([], [seen(Phase.UP, **BESIDE)], NOW) == [Stop(NAME)]


def test_settings_that_did_not_come_up_are_left_alone_until_others_are_wanted_or_an_operator_asks() -> None:
    refused: dict[str, Any] = {"refused": attempt_key(CHANGED), "good": spec()}
    assert plan([CHANGED], [seen(Phase.UP, **refused)], NOW) == []
    again = replace(CHANGED, generation=3)
    assert plan([again], [seen(Phase.UP, **refused)], NOW) == [Restart(again, Cause.CHANGED)]
    asked = replace(CHANGED, restore=RestoreOrder(1))
    steps = plan([asked], [seen(Phase.UP, **refused)], NOW)
    assert steps == [Restart(asked, Cause.RESTORED), Acknowledge(NAME, 1)]


def test_with_settings_that_did_not_come_up_the_earlier_ones_are_started_again_after_an_end() -> None:
    refused: dict[str, Any] = {"refused": attempt_key(CHANGED), "good": spec()}
    assert plan([CHANGED], [seen(Phase.EXITED, **refused)], NOW) == [Retry(NAME)]
    steps = plan([CHANGED], [seen(Phase.WAITING, **refused, retry_at=NOW)], NOW)
    assert steps == [Start(spec(), Cause.AUTOMATIC)]


def test_how_it_is_replaced_is_decided_once_it_is_known_whether_it_serves() -> None:
    assert plan([CHANGED], [seen(Phase.UP, unsure=True)], NOW) == []


def test_instances_are_planned_apart() -> None:
    other = replace(spec(), name=InstanceName("nodes/n/instances/other"))
    steps = plan([spec(), other], [seen(Phase.EXITED, budget=SPENT)], NOW)
    assert steps == [Fail(NAME, exhausted=True), Start(other, Cause.DESIRED)]


def test_prompts_to_remember_are_of_the_launch_and_without_them_an_earlier_agents_key_stays() -> None:
    plain = EngineSettings(slots=2)
    assert repr(plain) == (
        "EngineSettings(context_length=None, slots=2, threads=None, gpu_layers=None, batch_size=None, embeddings=None, "
        "pooling=None, warm_up=None)"
    )
    wanted = [plain, replace(plain, warm_up_prompts=("a",)), replace(plain, warm_up_prompts=("b",))]
    wanted += [replace(each, prompt_cache="songs") for each in wanted]
    wanted += [replace(each, kv_cache_type="q8_0") for each in wanted]
    assert len({launch_key(spec(settings=settings)) for settings in wanted}) == len(wanted)
