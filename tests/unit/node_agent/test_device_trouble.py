"""Which devices an engine runs on, what is said of those in trouble, and how a launch is led past them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from node_agent.domain.device_limits import Fence, fence_for, visible_of
from node_agent.domain.device_throttling import Lasting, Limit, limits_in
from node_agent.domain.device_trouble import DeviceUse, Trouble, broken, runs_on, seen_on, trouble_of, worst
from node_agent.domain.errors import AcceleratorLost, AcceleratorUnhealthy
from node_agent.domain.inventory import Accelerator, AcceleratorUsage, DeviceHealth, DeviceProcess, NodeUsage
from node_agent.domain.limits import Choice, Limits
from node_agent.domain.status import Problem
from node_agent.hardware import complaints
from tests.fakes.instance_specs import spec

PROCESSOR = Accelerator("cpu", "cpu")
ONE = Accelerator("GPU-1", "gpu_cuda", "H200", health=DeviceHealth.OK)
TWO = Accelerator("GPU-2", "gpu_cuda", "H200", health=DeviceHealth.OK)
VULKAN = Accelerator("0000:03:00.0", "gpu_vulkan", "Arc", health=DeviceHealth.OK)
LOST = complaints.lost("The GPU fell off the bus (Xid 79).")
AILS = complaints.unhealthy("An NVLink of the GPU had an error (Xid 74).", "Check its bridge.")
LEAKS = Problem("ACCELERATOR_LEAKING", "4096 MiB were not given back.")


def is_ours(pid: int) -> bool:
    return pid == 7


def unusable(device: Accelerator, problem: Problem = LOST) -> Accelerator:
    return replace(device, health=DeviceHealth.UNUSABLE, problem=problem)


def ailing(device: Accelerator) -> Accelerator:
    return replace(device, health=DeviceHealth.DEGRADED, problem=AILS)


@pytest.mark.parametrize(
    ("device", "limits", "label"),
    [
        (ONE, [], None),
        (unusable(ONE), [], "Degraded - GPU lost"),
        (unusable(ONE, complaints.reset_required("It hangs.")), [], "Degraded - GPU unusable"),
        (unusable(ONE, complaints.driver_missing("No driver.", "Install it.")), [], "Degraded - GPU unusable"),
        (ailing(ONE), [], "Degraded - GPU unhealthy"),
        (ailing(ONE), [Limit.THERMAL], "Degraded - GPU unhealthy"),
        (unusable(ONE, LEAKS), [], None),
        (replace(unusable(ONE), kind="npu_other"), [], "Degraded - NPU lost"),
        (replace(unusable(ONE), kind="other"), [], "Degraded - accelerator lost"),
        (ONE, [Limit.THERMAL], "Degraded - thermal limit"),
        (ONE, [Limit.POWER], "Degraded - power limit"),
        (ONE, [Limit.POWER, Limit.THERMAL], "Degraded - thermal limit"),
        (ONE, [Limit.SLOWDOWN], "Degraded - hardware slowdown"),
    ],
)
def test_a_device_in_trouble_makes_its_instance_say_so(
    device: Accelerator, limits: list[Limit], label: str | None
) -> None:
    found = trouble_of(device, limits)
    assert (found and found.label) == label


def test_the_reason_names_the_device_and_what_to_do() -> None:
    found = trouble_of(unusable(ONE))
    assert found is not None
    assert found.problem.text == "H200: The GPU fell off the bus (Xid 79)."
    assert (found.problem.reason, found.problem.remedy) == (LOST.reason, LOST.remedy)
    assert found.problem.metadata == {"device": "GPU-1"}
    slow = trouble_of(ONE, [Limit.POWER])
    assert slow is not None
    assert slow.problem.text == "H200 runs slower than it could: power limit."
    assert "power supply" in slow.problem.remedy


def test_of_several_devices_the_worst_one_is_told() -> None:
    hot = trouble_of(ONE, [Limit.THERMAL])

    def told(*devices: Accelerator) -> Trouble | None:
        return worst((device, trouble_of(device) or (hot if device == ONE else None)) for device in devices)

    assert told(TWO) is None
    assert told(ONE, TWO) == hot
    assert told(ONE, ailing(TWO)) == trouble_of(ailing(TWO))
    assert told(ailing(TWO), ONE, unusable(TWO)) == trouble_of(unusable(TWO))


@pytest.mark.parametrize(
    ("reasons", "limits"),
    [
        ([], set()),
        (["idle"], set()),
        (["software_power_cap"], set()),
        (["application_clocks", "sync_boost", "display_clocks"], set()),
        (["software_thermal", "software_power_cap"], {Limit.THERMAL}),
        (["hardware_thermal", "hardware_slowdown"], {Limit.THERMAL}),
        (["hardware_power_brake", "hardware_slowdown"], {Limit.POWER}),
        (["hardware_power_brake", "software_thermal"], {Limit.POWER, Limit.THERMAL}),
        (["hardware_slowdown"], {Limit.SLOWDOWN}),
    ],
)
def test_heat_and_power_brakes_are_limits_and_a_cap_under_load_is_none(reasons: list[str], limits: set[Limit]) -> None:
    assert limits_in(reasons) == limits


def test_a_limit_counts_once_it_lasts_and_until_it_was_away_for_as_long() -> None:
    one, counted = Lasting(), []
    for second, holds in enumerate([1, 1, 0, 1, 1, 1, 1, 0, 1, 0, 0, 0, 0]):
        one = one.seen(float(second), 3.0, holds=bool(holds))
        counted.append(int(one.counts))
    assert counted == [0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 0]


def listed(**pids: int) -> NodeUsage:
    """Devices, GPU_1=PID, whose driver lists a process that holds next to nothing."""
    return NodeUsage(
        tuple(
            AcceleratorUsage(device.replace("_", "-"), processes=(DeviceProcess(pid, 1),))
            for device, pid in pids.items()
        )
    )


def test_the_drivers_list_tells_the_devices_however_little_is_held() -> None:
    use = DeviceUse("gpu_cuda", None, is_ours)
    seen = seen_on(use, listed(GPU_1=8, GPU_2=7))
    assert runs_on(use, seen, [PROCESSOR, ONE, TWO]) == {"GPU-2"}
    assert not seen_on(use, None)


@pytest.mark.parametrize(
    ("kind", "visible", "devices", "used"),
    [
        ("gpu_cuda", None, [PROCESSOR, ONE], {"GPU-1"}),
        ("gpu_cuda", None, [PROCESSOR, ONE, TWO], set()),
        ("gpu_cuda", {"GPU-2"}, [PROCESSOR, ONE, TWO], {"GPU-2"}),
        ("gpu_cuda", {"GPU-1", "GPU-2"}, [PROCESSOR, ONE, TWO], set()),
        ("gpu_vulkan", None, [PROCESSOR, ONE, VULKAN], {VULKAN.id}),
        ("gpu_rocm", None, [PROCESSOR, ONE], set()),
        ("", None, [PROCESSOR, ONE], set()),
        ("cpu", None, [PROCESSOR, ONE], set()),
        ("gpu_cuda", None, [replace(ONE, simulated=True)], set()),
        ("gpu_cuda", None, [ONE, replace(TWO, id="MIG-1", partition_of="GPU-1")], {"MIG-1", "GPU-1"}),
    ],
)
def test_without_the_drivers_word_the_only_one_that_it_can_be_is_it(
    kind: str, visible: set[str] | None, devices: list[Accelerator], used: set[str]
) -> None:
    use = DeviceUse(kind, frozenset(visible) if visible else None, is_ours)
    assert runs_on(use, (), devices) == used


def test_an_engine_on_the_cpu_has_no_trouble_of_devices_though_it_opened_one() -> None:
    assert not runs_on(DeviceUse("cpu", None, is_ours), {"GPU-1"}, [PROCESSOR, ONE])


@pytest.mark.parametrize(
    ("said", "visible"), [(None, None), ("0", None), ("-1", None), ("GPU-1,GPU-2", {"GPU-1", "GPU-2"})]
)
def test_a_number_does_not_say_which_device_an_engine_sees(said: str | None, visible: set[str] | None) -> None:
    environment = {} if said is None else {"CUDA_VISIBLE_DEVICES": said}
    assert visible_of("gpu_cuda", environment) == visible
    assert visible_of("gpu_vulkan", environment) is None


@pytest.mark.parametrize(
    ("problem", "is_broken"),
    [
        (LOST, True),
        (complaints.reset_required("It hangs."), True),
        (complaints.unresponsive("a probe", "hangs"), True),
        (complaints.driver_missing("No driver.", "Install it."), False),
        (complaints.no_permission("Not ours.", "Ask."), False),
        (complaints.reserved("It is a virtual machine's.", "Ask."), False),
        (LEAKS, False),
    ],
)
def test_broken_is_what_worked_and_does_so_no_more(problem: Problem, is_broken: bool) -> None:
    assert broken(unusable(ONE, problem)) is is_broken
    assert not broken(ailing(ONE))


def fence(*devices: Accelerator, limits: Limits | None = None, **wanted: Any) -> Fence:
    return fence_for(limits or Limits(), spec(**wanted), [PROCESSOR, *devices])


def test_a_launch_is_led_past_a_lost_card_and_keeps_every_other_device() -> None:
    assert fence(unusable(ONE), TWO, accelerator="gpu_cuda") == Fence("gpu_cuda", "", {"CUDA_VISIBLE_DEVICES": "GPU-2"})
    nothing_of_cuda = {"CUDA_VISIBLE_DEVICES": "-1"}
    cuda = frozenset({"gpu_cuda"})
    other = Fence("gpu_vulkan", "", nothing_of_cuda, without=cuda)
    assert fence(unusable(ONE), VULKAN, accelerator="gpu_vulkan") == other
    assert fence(unusable(ONE)) == Fence("", "", nothing_of_cuda, without=cuda)
    assert fence(ailing(ONE), accelerator="gpu_cuda") == Fence("gpu_cuda")


def test_with_its_only_card_lost_a_runtime_goes_to_the_cpu_where_it_may() -> None:
    found = fence(unusable(ONE), accelerator="gpu_cuda")
    assert (found.accelerator, found.missing, found.because) == ("cpu", "gpu_cuda", LOST.text)
    assert fence(unusable(ONE), replace(TWO, simulated=True), accelerator="gpu_cuda") == found
    owner = Limits(devices=Choice(deny=frozenset({"gpu-2"})))
    limited = fence(unusable(ONE), TWO, limits=owner, accelerator="gpu_cuda")
    assert (limited.accelerator, limited.missing, limited.because) == ("cpu", "gpu_cuda", LOST.text)


@pytest.mark.parametrize("owner", [Limits(), Limits(devices=Choice(deny=frozenset({"gpu_vulkan"})))])
def test_with_its_only_card_lost_a_runtime_that_insists_on_it_is_refused_with_the_cards_problem(owner: Limits) -> None:
    strict: dict[str, Any] = {"accelerator": "gpu_cuda", "degrade_on_missing_accelerator": False}
    with pytest.raises(AcceleratorLost, match="fell off the bus") as caught:
        fence(unusable(ONE), VULKAN, limits=owner, **strict)
    assert (caught.value.remedy, caught.value.metadata["device"]) == (LOST.remedy, "GPU-1")
    with pytest.raises(AcceleratorUnhealthy) as other:
        fence(unusable(ONE, complaints.reset_required("It hangs.")), VULKAN, limits=owner, **strict)
    assert other.value.metadata["cause"] == "ACCELERATOR_RESET_REQUIRED"


def test_a_part_of_a_lost_card_is_lost_with_it() -> None:
    part = replace(ONE, id="MIG-1", partition_of="GPU-1")
    assert fence(unusable(ONE), part, TWO, accelerator="gpu_cuda").environment == {"CUDA_VISIBLE_DEVICES": "GPU-2"}
