"""Jobs: work on runtimes that takes its time."""

from __future__ import annotations

from typing import Annotated

import typer

from arw_client import messages as m
from arwctl import job_view
from arwctl.command import Call, Output, command, group
from arwctl.format import Format
from arwctl.output import listing, show
from arwctl.targets import one_of

app = group("See, follow and cancel work on runtimes that takes its time.")

Id = Annotated[str, typer.Argument(metavar="JOB", help="Job id.", show_default=False)]
Unfinished = Annotated[bool, typer.Option("--unfinished", help="Only those that are not over.")]


@command(app, "list")
async def list_jobs(call: Call, *, unfinished: Unfinished = False, output: Output = Format.TABLE) -> None:
    """List jobs, the newest last. Those that are over are kept for a week.

    Examples:
    arwctl jobs list --unfinished
    """
    async with call.client() as client:
        found = [job async for job in client.jobs.each() if not unfinished or job.state not in job_view.OVER]
    found.sort(key=lambda job: (job.create_time is not None and job.create_time.timestamp(), job.id))
    listing(call.screen, found, output, job_view.JOBS)


@command(app, "show")
async def show_job(call: Call, job: Id, *, output: Output = Format.TABLE) -> None:
    """Show one job, and what came of it.

    Examples:
    arwctl jobs show swap-tiny-chat
    """
    async with call.client() as client:
        found = (await client.jobs.get_job(m.GetJobRequest(name=one_of("jobs", job)))).job or m.Job()
    show(call.screen, found, output, lambda: job_view.describe(call.screen, found))


@command(app, "watch")
async def watch(call: Call, job: Id, *, output: Output = Format.TABLE) -> None:
    """Follow a job to its end. Exit code 1: it did not succeed.

    Examples:
    arwctl jobs watch swap-tiny-chat
    """
    async with call.client() as client:
        found = (await client.jobs.get_job(m.GetJobRequest(name=one_of("jobs", job)))).job or m.Job()
        found = await job_view.followed(client, call.screen, found)
    show(call.screen, found, output, lambda: job_view.describe(call.screen, found))
    if (error := job_view.failure(found)) is not None:
        raise error


@command(app, "cancel")
async def cancel(call: Call, job: Id) -> None:
    """Ask a job to end: a swap is rolled back, what else was ordered of a node stays so.

    Examples:
    arwctl jobs cancel swap-tiny-chat
    """
    async with call.client() as client:
        answer = await client.jobs.cancel_job(m.CancelJobRequest(name=one_of("jobs", job)))
    found = answer.job or m.Job()
    over = found.state in job_view.OVER
    call.screen.line(f"{found.id}: {'is over already, ' + found.state_label.lower() if over else 'cancel accepted'}")
