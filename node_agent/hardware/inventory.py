"""What devices this machine has. Runs in a child: `python -I -m node_agent.hardware.inventory`.

Without arguments it prints one JSON document for a person. With --lines it prints a line before each probe and one
with its report after, so that the agent knows which one hung, and ends with its standard input; --skip names probes
to leave out.
Probes need the standard library, and NVIDIA's nvidia-ml-py, alone.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Protocol, cast

from node_agent.domain.inventory import Accelerator
from node_agent.hardware import lifeline
from node_agent.hardware.host import Host, LocalHost
from node_agent.hardware.joining import joined, troubles
from node_agent.hardware.report import ProbeFailedError, Report, report_to_json

_MODULES: Mapping[str, str] = {
    "pci": "pci.devices",
    "simulated": "simulated",
    "npu": "npu",
    "intel": "intel",
    "nvidia": "nvidia.probe",
    "nvidia_smi": "nvidia.smi",
    "tegra": "nvidia.tegra",
    "amd": "amd.probe",
    "apple": "apple.probe",
    "windows": "windows",
    "vulkan": "vulkan",
}
"""Of each probe, in this package."""

PROBES = tuple(_MODULES)
"""In the order in which they are asked: the kernel's record, what cannot hang, drivers."""


class Probe(Protocol):
    def __call__(self, host: Host, known: Sequence[Accelerator]) -> list[Accelerator]:
        """Devices of one vendor or kind. `known`: what earlier probes of this run told. ProbeFailedError."""


def asked(name: str, host: Host, known: Sequence[Accelerator]) -> Report:
    try:
        probe = cast("Probe", importlib.import_module(f"node_agent.hardware.{_MODULES[name]}").probe)
        return Report(name, tuple(probe(host, known)))
    except ModuleNotFoundError as error:
        if error.name != "pynvml":
            raise
        return Report(name)
    except ProbeFailedError as failed:
        return Report(name, failed.found, failed.problem, failed.quiet)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m node_agent.hardware.inventory", description=__doc__)
    parser.add_argument("--lines", action="store_true")
    parser.add_argument("--skip", nargs="*", default=[], choices=PROBES, metavar="PROBE")
    given = parser.parse_args(arguments)
    if given.lines:
        lifeline.hold()
    host, known, reports = LocalHost(), list[Accelerator](), list[Report]()
    for name in (name for name in PROBES if name not in given.skip):
        if given.lines:
            _say(name)
        reports.append(asked(name, host, known))
        known += reports[-1].accelerators
        if given.lines:
            _say(report_to_json(reports[-1]))
    if not given.lines:
        _say(_document(reports))
    return 0


def _document(reports: Sequence[Report]) -> str:
    devices = [asdict(device) for device in joined(reports)]
    return json.dumps({"accelerators": devices, "problems": [asdict(each) for each in troubles(reports)]}, indent=2)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
