"""What the owner's word on devices means for a launch, and for what the node offers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from node_agent.domain.device_memory import leaking
from node_agent.domain.device_trouble import LOST, broken, kinds_lost
from node_agent.domain.errors import AcceleratorLeaking, AcceleratorLost, AcceleratorUnhealthy, LocalPolicyDenied
from node_agent.domain.inventory import CPU, Accelerator, DeviceHealth
from node_agent.domain.limits import Choice, Limits
from node_agent.domain.spec import InstanceSpec
from node_agent.domain.status import Problem

CUDA, ROCM = "gpu_cuda", "gpu_rocm"
_NONE_AT_ALL = "-1"
_VARIABLES = {CUDA: ("CUDA_VISIBLE_DEVICES",), ROCM: ("ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")}


@dataclass(frozen=True, slots=True)
class Fence:
    """How an engine is kept to the devices that it may use."""

    accelerator: str
    """What to ask the engine for in place of what the spec says."""
    missing: str = ""
    """Asked for, not to be had, done without."""
    environment: Mapping[str, str] | None = None
    """Set for the engine, over everything else."""
    because: str = ""
    """What befell the device that it does without; empty: its owner's word, or its memory."""
    without: frozenset[str] = frozenset()
    """Kinds that the engine may list, and will not find."""


def fence_for(limits: Limits, spec: InstanceSpec, devices: Sequence[Accelerator]) -> Fence:
    """LocalPolicyDenied, AcceleratorLeaking, AcceleratorLost, AcceleratorUnhealthy when none is left that would do."""
    allowed = usable(limits, devices)
    if len(allowed) == len(devices):
        return _past_broken(spec, devices)
    allowed = _working(allowed)
    kinds = [device.kind for device in allowed if device.kind == CPU or _can_be_fenced(device)]
    environment = _visible(allowed)
    if not spec.accelerator and any(kind != CPU for kind in kinds):
        return Fence("", "", environment, without=frozenset(device.kind for device in devices) - frozenset(kinds))
    wanted = spec.accelerator or CPU
    if wanted in kinds:
        return Fence(wanted, "", environment)
    if CPU in kinds and wanted != CPU and spec.degrade_on_missing_accelerator:
        return Fence(CPU, wanted, environment, _because(wanted, devices))
    _refuse_broken(wanted, devices)
    for device in devices:
        if device.kind == wanted and device.problem is not None and leaking(device):
            raise AcceleratorLeaking(device.problem.text, device.problem.remedy, device=device.id)
    raise LocalPolicyDenied(
        f"This node's owner lets {spec.runtime_id} use no device of kind {wanted}.",
        f"Ask the owner of this node: rule devices in {limits.file}; or choose another node.",
        rule="devices",
        file=limits.file,
        accelerator=wanted,
    )


def _past_broken(spec: InstanceSpec, devices: Sequence[Accelerator]) -> Fence:
    """Nobody keeps the engine from anything: it is led past what would make it fail."""
    working, wanted = [device for device in _working(devices) if not device.simulated], spec.accelerator
    out_of_order = {device.kind for device in devices if broken(device)}
    variables = {name for kind in out_of_order for name in _VARIABLES.get(kind, ())}
    environment = {name: value for name, value in _visible(working).items() if name in variables} or None
    if wanted not in out_of_order or any(device.kind == wanted for device in working):
        return Fence(wanted, "", environment, without=frozenset(kinds_lost(devices)))
    if not spec.degrade_on_missing_accelerator:
        _refuse_broken(wanted, devices)
    return Fence(CPU, wanted, environment, _because(wanted, devices))


def _working(devices: Sequence[Accelerator]) -> list[Accelerator]:
    """A part of a device goes with it."""
    gone = {device.id for device in devices if broken(device)}
    return [device for device in devices if not {device.id, device.partition_of} & gone]


def _because(wanted: str, devices: Sequence[Accelerator]) -> str:
    found = (device.problem.text for device in devices if device.kind == wanted and device.problem and broken(device))
    return next(found, "")


def _refuse_broken(wanted: str, devices: Sequence[Accelerator]) -> None:
    """AcceleratorLost, AcceleratorUnhealthy when a device of this kind is out of order."""
    for device in devices:
        if device.kind == wanted and device.problem is not None and broken(device):
            problem = device.problem
            refusal = AcceleratorLost if problem.reason == LOST else AcceleratorUnhealthy
            raise refusal(problem.text, problem.remedy, device=device.id, cause=problem.reason)


def visible_of(kind: str, environment: Mapping[str, str]) -> frozenset[str] | None:
    """Ids of the devices of a kind that an engine with this environment can see; None: all, or it says numbers."""
    said = next((environment[name] for name in _VARIABLES.get(kind, ()) if name in environment), "")
    return frozenset(name for name in said.split(",") if name and not name.lstrip("-").isdigit()) or None


def usable(limits: Limits, devices: Sequence[Accelerator]) -> list[Accelerator]:
    """Those that the owner allows and whose memory came back."""
    return [device for device in devices if not refusing(limits.devices, device) and not leaking(device)]


def refusing(devices: Choice, device: Accelerator) -> str:
    """The key of the list that is against it, as `Choice.refusing`. A part of a device bears the device's name too."""
    names = (device.kind, device.id, device.pci_address, device.partition_of)
    return devices.refusing(*(name for name in names if name))


def offered(limits: Limits, device: Accelerator) -> Accelerator:
    """As the control plane is told of it: one that may not be used is there and unusable."""
    key = refusing(limits.devices, device)
    if not key:
        return device
    rule = f"devices.{key}"
    problem = Problem(
        "LOCAL_POLICY_DENIED",
        f"The owner of this node does not let models use {device.display_name or device.id}.",
        f"Ask the owner: rule {rule} in {limits.file}.",
        {"rule": rule, "file": limits.file},
    )
    return replace(device, health=DeviceHealth.UNUSABLE, problem=problem)


def _can_be_fenced(device: Accelerator) -> bool:
    """Other kinds are known to engines by a number alone, which says nothing of which device it is."""
    return device.kind == CUDA or (device.kind == ROCM and device.id.startswith("GPU-"))


def _visible(allowed: Sequence[Accelerator]) -> dict[str, str]:
    cuda = [device.id for device in allowed if device.kind == CUDA]
    rocm = [device.id for device in allowed if device.kind == ROCM and _can_be_fenced(device)]
    seen = {
        "CUDA_VISIBLE_DEVICES": ",".join(cuda) or _NONE_AT_ALL,
        "ROCR_VISIBLE_DEVICES": ",".join(rocm) or _NONE_AT_ALL,
        "GGML_VK_VISIBLE_DEVICES": "",
        "ONEAPI_DEVICE_SELECTOR": "*:cpu",
    }
    return seen if rocm else {**seen, "HIP_VISIBLE_DEVICES": _NONE_AT_ALL}
