"""Commands of runtimes that make jobs; `arwctl.groups.runtime` names them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import timedelta
from typing import Annotated, Any
from uuid import uuid4

import typer

from arw_client import messages as m
from arw_client import resource_name
from arwctl import job_view
from arwctl.command import Call, Output
from arwctl.exit_codes import ExitCode
from arwctl.format import Format
from arwctl.output import show
from arwctl.readiness import SERVES
from arwctl.targets import one_of, seconds

Id = Annotated[str, typer.Argument(metavar="ID", help="Runtime id.", show_default=False)]
Model = Annotated[str, typer.Argument(metavar="MODEL", help="Id of a recorded model.", show_default=False)]
Limit = Annotated[str, typer.Option("--time-limit", help="Such as 90s or 5m; otherwise the control plane's own.")]
Key = Annotated[str, typer.Option("--job", metavar="JOB", help="Your own id: the same again is the same job.")]
Detach = Annotated[bool, typer.Option("--no-wait", help="Only order it; follow it with `arwctl jobs watch`.")]
Settings = Annotated[
    list[str],
    typer.Option("--set", metavar="KEY=VALUE", help="A setting of the manifest, such as slots=4; repeatable."),
]
_NUMBERS = ("context_length", "slots", "threads", "gpu_layers", "batch_size")
_SWITCHES = ("embeddings", "warm_up")
_WORDS = ("pooling", "prompt_cache", "kv_cache_type")


async def ensure_ready(
    call: Call, runtime: Id, *, limit: Limit = "", job: Key = "", no_wait: Detach = False, output: Output = Format.TABLE
) -> None:
    """Start a runtime if it is stopped or failed, and wait until it serves; say what is in the way if it does not.

    Examples:
    arwctl runtime ensure-ready tiny-chat --time-limit 2m
    """
    order = _order(runtime, limit, ensure_ready=m.EnsureReadyTask())
    await _ordered(call, order, job, output, no_wait=no_wait)


async def probe(call: Call, runtime: Id, *, limit: Limit = "", job: Key = "", output: Output = Format.TABLE) -> int:
    """Have its node ask a runtime's engine now. Exit code 1: it does not serve, or its node does not answer.

    Examples:
    arwctl runtime probe tiny-chat
    """
    done = await _ordered(call, _order(runtime, limit, health_probe=m.HealthProbeTask()), job, output)
    found = done.health_probe
    return ExitCode.OK if found is not None and found.state in SERVES else ExitCode.FAILED


async def swap_model(
    call: Call,
    runtime: Id,
    model: Model,
    *,
    setting: Settings = [],  # noqa: B006
    limit: Limit = "",
    job: Key = "",
    no_wait: Detach = False,
    output: Output = Format.TABLE,
) -> None:
    """Give a runtime another model. When it does not get ready, the one before is put back.

    Examples:
    arwctl runtime swap-model tiny-chat tiny-chat-v2 --set slots=4
    arwctl runtime swap-model tiny-chat tiny-chat-v2 --job swap-tiny-chat --no-wait
    """
    task = m.SwapModelTask(model=resource_name("models", model), settings=_settings(setting))
    await _ordered(call, _order(runtime, limit, swap_model=task), job, output, no_wait=no_wait)


async def _ordered(call: Call, order: m.JobOrder, job: str, output: Format, *, no_wait: bool = False) -> m.Job:
    """The job, over unless nobody waits for it; the refusal that its failure stands for.

    It has an id before it is ordered, so that an order which has to be sent again is still one job.
    """
    async with call.client() as client:
        made = (
            await client.jobs.create_job(m.CreateJobRequest(order=order, job_id=job or str(uuid4())))
        ).job or m.Job()
        found = made if no_wait else await job_view.followed(client, call.screen, made)
    if (error := job_view.failure(found)) is not None:
        raise error
    show(call.screen, found, output, lambda: job_view.describe(call.screen, found))
    return found


def _order(runtime: str, limit: str, **task: Any) -> m.JobOrder:
    time_limit = timedelta(seconds=seconds(limit)) if limit else None
    return m.JobOrder(runtime=one_of("runtimes", runtime), time_limit=time_limit, **task)


def _settings(given: Iterable[str]) -> m.EngineSettings | None:
    """None: all stay as they are."""
    said = dict(_setting(text) for text in given)
    return m.EngineSettings(**said) if said else None


def _setting(text: str) -> tuple[str, Any]:
    name, _, value = text.partition("=")
    if name in _WORDS and value:
        return name, value
    read = _read(value)
    number = name in _NUMBERS and type(read) is int and 0 <= read < 1 << 32
    if not number and not (name in _SWITCHES and isinstance(read, bool)):
        known = ", ".join((*_NUMBERS, *_SWITCHES, *_WORDS))
        raise typer.BadParameter(f"{text!r} is no setting; write for example slots=4 or warm_up=true. Known: {known}")
    return name, read


def _read(value: str) -> Any:
    """As JSON; None: it is none."""
    try:
        return json.loads(value)
    except json.JSONDecodeError:
        return None
