"""The owner's word as a pure decision."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from node_agent.domain.device_limits import Fence, fence_for, offered
from node_agent.domain.errors import LocalPolicyDenied
from node_agent.domain.hours import Hours, Window
from node_agent.domain.inventory import Accelerator, DeviceHealth
from node_agent.domain.limits import Choice, Denial, Limits, denials, forbids, permits
from node_agent.domain.observed import Observed, Phase, launch_key
from node_agent.domain.plan import plan
from node_agent.domain.spec import (
    DesiredState,
    EngineSettings,
    ExecutionMode,
    ExecutionSettings,
    ExternalSettings,
    InstanceName,
    InstanceSpec,
    ModelFile,
    RestoreOrder,
)
from node_agent.domain.status import Problem
from node_agent.domain.step import Acknowledge, Adopt, Cause, Deny, Forget, Reclaim, Start, Stop
from node_agent.local_limits.amounts import windows
from tests.fakes.instance_specs import NAME, spec

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)  # a Friday
FILE = "/etc/node_agent.toml"
BIG = spec(model=ModelFile("models/big", "/big.gguf", "", 1000))
CLOSED = Hours(UTC, "UTC", windows("sat 00:00-24:00"))
DENIED = Problem("LOCAL_POLICY_DENIED", "No.", metadata={"rule": "adapters.deny"})
BERLIN = ZoneInfo("Europe/Berlin")
NATIVE_ONLY = ExecutionSettings(frozenset({ExecutionMode.NATIVE}))
NATIVE_RATHER = ExecutionSettings(preferred=ExecutionMode.NATIVE)


def named(letter: str, **changes: Any) -> InstanceSpec:
    return spec(name=InstanceName(f"nodes/n/instances/{letter}"), **changes)


@pytest.mark.parametrize(
    ("limits", "wanted", "running", "rule"),
    [
        (Limits(adapters=Choice(deny=frozenset({"llama.cpp"}))), spec(), [], "adapters.deny"),
        (Limits(adapters=Choice(allow=frozenset({"vllm"}))), spec(), [], "adapters.allow"),
        (Limits(modes=frozenset({ExecutionMode.CONTAINER})), spec(execution=NATIVE_ONLY), [], "modes"),
        (Limits(modes=frozenset()), spec(), [], "modes"),
        (Limits(devices=Choice(deny=frozenset({"cpu"}))), spec(accelerator="cpu"), [], "devices.deny"),
        (
            Limits(devices=Choice(deny=frozenset({"gpu_cuda"}))),
            spec(accelerator="gpu_cuda", degrade_on_missing_accelerator=False),
            [],
            "devices.deny",
        ),
        (Limits(memory_per_runtime_bytes=1099), BIG, [], "memory.per_runtime"),
        (Limits(memory_bytes=2199), BIG, [BIG], "memory.total"),
        (Limits(max_runtimes=1), spec(), [BIG], "max_runtimes"),
        (Limits(max_runtimes=0), spec(), [], "max_runtimes"),
        (Limits(hours=CLOSED), spec(), [], "hours"),
        (Limits(unreadable="line 3: colour is not known"), spec(), [], "file"),
    ],
)
def test_t15_each_rule_of_the_owner_refuses_with_its_own_name(
    limits: Limits, wanted: InstanceSpec, running: list[InstanceSpec], rule: str
) -> None:
    problem = permits(replace(limits, file=FILE), wanted, NOW, running)
    assert problem is not None
    assert problem.reason == "LOCAL_POLICY_DENIED"
    assert (problem.metadata["rule"], problem.metadata["node"], problem.metadata["file"]) == (rule, "n", FILE)
    assert problem.remedy == f"Ask the owner of node n: rule {rule} in {FILE}."
    stopped = replace(wanted, desired_state=DesiredState.STOPPED)
    assert permits(replace(limits, file=FILE), stopped, NOW, running) is None


@pytest.mark.parametrize(
    ("limits", "wanted", "running"),
    [
        (Limits(), spec(), [BIG] * 50),
        (Limits(adapters=Choice(allow=frozenset({"llama.cpp"}))), spec(), []),
        (
            Limits(modes=frozenset({ExecutionMode.CONTAINER})),
            spec(adapter="external", external=ExternalSettings("http://127.0.0.1:1")),
            [],
        ),
        (Limits(modes=frozenset({ExecutionMode.CONTAINER})), spec(), []),
        (Limits(modes=frozenset({ExecutionMode.CONTAINER})), spec(execution=NATIVE_RATHER), []),
        (Limits(devices=Choice(deny=frozenset({"gpu_cuda"}))), spec(accelerator="gpu_cuda"), []),
        (Limits(memory_per_runtime_bytes=1100, memory_bytes=2200), BIG, [BIG]),
        (Limits(max_runtimes=2), spec(), [BIG]),
        (Limits(hours=Hours(UTC, "UTC", windows("fri 11:00-13:00"))), spec(), []),
    ],
)
def test_what_no_rule_is_against_may_run(limits: Limits, wanted: InstanceSpec, running: list[InstanceSpec]) -> None:
    assert permits(limits, wanted, NOW, running) is None


def test_an_owner_who_forbids_every_mode_of_a_runtime_is_told_of_in_words() -> None:
    limits = Limits(file=FILE, modes=frozenset({ExecutionMode.CONTAINER}))
    problem = forbids(limits, spec(execution=NATIVE_ONLY))
    assert problem is not None
    assert "does not let engines run natively, and demo/tiny may run in no other mode" in problem.text
    assert problem.metadata["modes"] == "native"


def test_what_passes_by_itself_refuses_no_spec_for_good() -> None:
    assert forbids(Limits(hours=CLOSED, max_runtimes=0, memory_bytes=0), BIG) is None
    assert forbids(Limits(unreadable="it is gone"), BIG) is None


def test_something_new_never_takes_the_place_of_what_runs() -> None:
    wanted = [named("a"), named("b"), named("c", desired_state=DesiredState.STOPPED)]
    assert list(denials(Limits(max_runtimes=1), wanted, {named("b").name}, NOW)) == [named("a").name]
    assert list(denials(Limits(max_runtimes=1), wanted, (), NOW)) == [named("b").name]


@pytest.mark.parametrize(
    ("text", "wall", "fold", "is_open"),
    [
        ("mon-fri 18:00-08:00", "2026-11-20 18:00", 0, True),
        ("mon-fri 18:00-08:00", "2026-11-20 17:59", 0, False),
        ("mon-fri 18:00-08:00", "2026-11-21 07:59", 0, True),
        ("mon-fri 18:00-08:00", "2026-11-21 08:00", 0, False),
        ("sun 22:00-06:00", "2026-11-23 05:00", 0, True),
        ("sat,sun 00:00-24:00", "2026-11-22 23:59", 0, True),
        ("fri-mon 00:00-24:00", "2026-11-24 00:00", 0, False),
        # Clocks go forward: half past two is no time at all. Back: it comes twice.
        ("sun 02:00-03:00", "2026-03-29 03:00", 0, False),
        ("sun 02:00-03:00", "2026-10-25 02:30", 0, True),
        ("sun 02:00-03:00", "2026-10-25 02:30", 1, True),
    ],
)
def test_hours_follow_the_clock_on_the_wall(text: str, wall: str, fold: int, is_open: bool) -> None:
    hours = Hours(BERLIN, "Europe/Berlin", windows(text))
    moment = datetime.fromisoformat(wall).replace(tzinfo=BERLIN, fold=fold)
    assert hours.is_open(moment.astimezone(UTC)) is is_open


def test_a_window_over_a_clock_change_ends_by_the_clock_on_the_wall() -> None:
    hours = Hours(BERLIN, "Europe/Berlin", windows("sat 22:00-06:00"))
    evening = datetime(2026, 3, 28, 23, 0, tzinfo=BERLIN).astimezone(UTC)
    assert hours.next_change(evening) == datetime(2026, 3, 29, 4, 0, tzinfo=UTC)
    later = datetime(2026, 10, 24, 23, 0, tzinfo=BERLIN).astimezone(UTC)
    assert hours.next_change(later) == datetime(2026, 10, 25, 5, 0, tzinfo=UTC)


def test_hours_that_never_change_say_so() -> None:
    assert Hours(UTC, "UTC", (Window(0, 7 * 24 * 60),)).next_change(NOW) is None
    assert CLOSED.opening(NOW) == "it opens sat 00:00 (UTC)"


def up(**changes: Any) -> Observed:
    return Observed(NAME, Phase.UP, **{"launch_key": launch_key(spec()), **changes})


def test_what_is_denied_is_told_once_and_not_started() -> None:
    denied = {NAME: Denial(DENIED)}
    assert plan([spec()], [], NOW, denied) == [Deny(NAME, DENIED)]
    assert plan([spec()], [Observed(NAME, Phase.DENIED, denied=DENIED)], NOW, denied) == []
    other = replace(DENIED, text="Not now.")
    assert plan([spec()], [Observed(NAME, Phase.DENIED, denied=DENIED)], NOW, {NAME: Denial(other)}) == [
        Deny(NAME, other)
    ]


def test_what_was_denied_starts_when_the_owner_lets_it_and_costs_no_budget() -> None:
    assert plan([spec()], [Observed(NAME, Phase.DENIED, denied=DENIED)], NOW) == [Start(spec(), Cause.DESIRED)]


def test_what_runs_is_reclaimed_when_its_notice_is_over_and_never_restarted_before() -> None:
    changed = spec(settings=EngineSettings(slots=4))
    soon = {NAME: Denial(DENIED, NOW + timedelta(seconds=1))}
    assert plan([changed], [up()], NOW, soon) == []
    assert plan([spec()], [up()], NOW + timedelta(seconds=1), soon) == [Reclaim(NAME, DENIED)]
    assert plan([changed], [up()], NOW, {NAME: Denial(DENIED)}) == [], "what may run out runs out"


def test_a_denial_keeps_nobody_from_looking_stopping_and_forgetting() -> None:
    denied = {NAME: Denial(DENIED)}
    assert plan([spec()], [Observed(NAME, Phase.FOUND)], NOW, denied) == [Adopt(NAME)]
    assert plan([], [Observed(NAME, Phase.DENIED, denied=DENIED)], NOW) == [Forget(NAME)]
    stopped = spec(desired_state=DesiredState.STOPPED)
    assert plan([stopped], [Observed(NAME, Phase.DENIED, denied=DENIED)], NOW) == [Stop(NAME)]


def test_a_restore_is_acted_on_and_does_not_get_past_the_owner() -> None:
    restored = spec(restore=RestoreOrder(1, restart=True))
    assert plan([restored], [up()], NOW, {NAME: Denial(DENIED, NOW + timedelta(seconds=9))}) == [Acknowledge(NAME, 1)]


PROCESSOR = Accelerator("cpu", "cpu")
FIRST = Accelerator("GPU-aaaa", "gpu_cuda", "One", pci_address="0000:01:00.0")
SECOND = Accelerator("GPU-bbbb", "gpu_cuda", "Two", pci_address="0000:02:00.0")
VULKAN = Accelerator("0000:03:00.0", "gpu_vulkan", "Three", pci_address="0000:03:00.0")
ALL = (PROCESSOR, FIRST, SECOND, VULKAN)
HIDDEN = {
    "CUDA_VISIBLE_DEVICES": "-1",
    "ROCR_VISIBLE_DEVICES": "-1",
    "GGML_VK_VISIBLE_DEVICES": "",
    "ONEAPI_DEVICE_SELECTOR": "*:cpu",
    "HIP_VISIBLE_DEVICES": "-1",
}


def without(*names: str) -> Limits:
    return Limits(file=FILE, devices=Choice(deny=frozenset(names)))


def test_an_engine_sees_only_the_cards_that_it_may_use() -> None:
    assert fence_for(without("0000:01:00.0"), spec(), ALL) == Fence(
        "", "", {**HIDDEN, "CUDA_VISIBLE_DEVICES": "GPU-bbbb"}, without=frozenset({"gpu_vulkan"})
    )
    assert fence_for(without("0000:09:00.0"), spec(), ALL) == Fence("")


def test_a_card_known_by_number_alone_is_not_used_beside_one_that_may_not_be() -> None:
    assert fence_for(without("gpu_cuda"), spec(), ALL) == Fence("cpu", "", HIDDEN)
    assert fence_for(without("gpu_cuda"), spec(accelerator="gpu_vulkan"), ALL) == Fence("cpu", "gpu_vulkan", HIDDEN)


def test_without_a_device_that_may_be_used_nothing_starts() -> None:
    firm = spec(accelerator="gpu_cuda", degrade_on_missing_accelerator=False)
    with pytest.raises(LocalPolicyDenied, match="use no device of kind gpu_cuda"):
        fence_for(without("gpu_cuda"), firm, ALL)
    with pytest.raises(LocalPolicyDenied, match="use no device of kind cpu"):
        fence_for(without("cpu", "gpu_cuda"), spec(), ALL)


def test_a_device_that_may_not_be_used_is_offered_as_unusable_with_the_rule() -> None:
    told = offered(without("gpu-aaaa"), FIRST)
    assert told.health is DeviceHealth.UNUSABLE
    assert told.problem is not None
    assert (told.problem.reason, told.problem.metadata["rule"]) == ("LOCAL_POLICY_DENIED", "devices.deny")
    assert offered(without("gpu-aaaa"), SECOND) == SECOND
    part = Accelerator("MIG-1", "gpu_cuda", partition_of="GPU-aaaa")
    assert offered(without("gpu-aaaa"), part).health is DeviceHealth.UNUSABLE
