"""What the pair costs while nothing happens."""

from __future__ import annotations

import time
from collections.abc import Iterator

import psutil

from benchmarks.pair import pair
from benchmarks.row import Row

SECONDS = 30
MB = 1_000_000


def rows() -> Iterator[Row]:
    with pair() as made:
        made.up()
        made.apply()
        made.chat()
        status = made.status()["supervisor"]
        pids = {
            "agent": status["agent_pid"],
            "shim": status["runtimes"][0]["status"]["shim_pid"],
            "control plane": status["control_plane_pid"],
        }
        busy = core_share([psutil.Process(pid) for pid in pids.values()])
        empty = psutil.Process().memory_full_info().pss / MB
        for (name, pid), at_most in zip(pids.items(), (65, 12, 120), strict=True):
            pss = psutil.Process(pid).memory_full_info().pss / MB
            yield Row.value(f"idle {name}, PSS", "MB", ours=pss, at_most=at_most, baseline=f"this one: {empty:.0f} MB")
        yield Row.value("idle agent, CPU", "% of a core", ours=busy[0], at_most=0.5)
        yield Row.value("idle control plane, CPU", "% of a core", ours=busy[2], at_most=1.0)


def core_share(processes: list[psutil.Process]) -> list[float]:
    """Percent of one core that each used over a while."""
    before = [sum(process.cpu_times()[:2]) for process in processes]
    time.sleep(SECONDS)
    after = [sum(process.cpu_times()[:2]) for process in processes]
    return [(late - early) * 100 / SECONDS for early, late in zip(before, after, strict=True)]
