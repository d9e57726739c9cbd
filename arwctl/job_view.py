"""Jobs: following one to its end, and what a person sees of it."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from arw_client import ArwError, Client, display_id
from arw_client import messages as m
from arwctl.following import AWAY
from arwctl.output import Columns, when
from arwctl.plain import one_line
from arwctl.screen import Screen

OVER = {m.JobState.SUCCEEDED, m.JobState.FAILED, m.JobState.CANCELLED, m.JobState.ABORTED}
RETRY_S = 0.5

JOBS = Columns[m.Job](
    ("job", "kind", "runtime", "state", "done", "since", "summary"),
    lambda job: (
        job.id,
        job.kind,
        display_id(job.order.runtime) if job.order else "-",
        job.state_label,
        f"{job.progress_percent} %",
        when(job.create_time),
        job.summary,
    ),
    "There is no job. `arwctl runtime ensure-ready RUNTIME` makes one.",
)


async def followed(client: Client, screen: Screen, job: m.Job) -> m.Job:
    """The job once it is over, each change told in one line. A control plane that restarts is waited for."""
    said = ""
    while job.state not in OVER:
        try:
            async for change in client.jobs.watch_job(m.WatchJobRequest(name=job.name)):
                job = change.job or job
                if said != (said := line(job)):
                    screen.note(said)
        except ArwError as error:
            if error.reason not in AWAY:
                raise
            screen.note(f"{one_line(error.text)} Trying again.")
            await asyncio.sleep(RETRY_S)
    return job


def line(job: m.Job) -> str:
    return f"{job.id}: {job.state_label}, {job.progress_percent} % - {job.summary}"


def failure(job: m.Job) -> ArwError | None:
    """What a job that did not succeed is told as; None: it did."""
    if job.state not in OVER - {m.JobState.SUCCEEDED}:
        return None
    problem = job.problem or m.Problem(text=job.summary)
    reason = (problem.reason.name or "INTERNAL") if problem.reason else "INTERNAL"
    error = ArwError(reason, f"Job {job.id} {job.state_label.lower()}: {problem.text}", problem.remedy)
    if job.summary != problem.text:
        error.add_note(job.summary)
    return error


def describe(screen: Screen, job: m.Job) -> None:
    order = job.order or m.JobOrder()
    facts = [
        ("Job", job.id),
        ("Kind", job.kind),
        ("Runtime", display_id(order.runtime)),
        ("State", f"{job.state_label}, {job.progress_percent} %"),
        ("Summary", job.summary or "-"),
        ("Ordered", f"{when(job.create_time)} by {job.operator or '-'}"),
        ("Until", when(job.deadline)),
        ("Ended", when(job.end_time)),
    ]
    if job.problem:
        facts += [("Problem", job.problem.text), ("Next", job.problem.remedy or "-")]
    for name, value in (*facts, *_found(job.health_probe), *_swapped(job.swap_model)):
        screen.line(f"{name + ':':20}{value}")


def _found(probe: m.HealthProbeResult | None) -> list[tuple[str, str]]:
    if probe is None:
        return []
    latency = f"{probe.latency / timedelta(milliseconds=1):.1f} ms" if probe.latency is not None else "-"
    return [
        ("Health", f"{probe.state_label} ({probe.severity_label}) - {probe.summary}"),
        *(("", detail) for detail in probe.detail),
        ("Node", display_id(probe.node) or "-"),
        ("Asked for this", "yes" if probe.fresh else "no, as its node told it last"),
        ("Probe latency", latency),
        ("Reported", when(probe.report_time)),
        ("Heard", when(probe.contact_time)),
    ]


def _swapped(swap: m.SwapModelResult | None) -> list[tuple[str, str]]:
    if swap is None:
        return []
    back = {None: "-", True: "yes", False: "no"}[swap.rolled_back]
    return [("Model before", display_id(swap.previous_model) or "-"), ("Rolled back", back)]
