"""The options that say what is claimed, for each command that claims."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta
from typing import Annotated, Any

import typer

from arw_client import messages as m
from arw_client import resource_name
from arwctl.targets import seconds, slugs, value_of

Body = Callable[..., Coroutine[Any, Any, int | None]]


def wish(
    *,
    model: Annotated[
        str, typer.Option("--model", "-m", metavar="NAME", help="A runtime's id or name, or a model's id.")
    ],
    project: Annotated[str, typer.Option("--project", "-p", metavar="ID", help="For whom; else for you.")] = "",
    speed: Annotated[float, typer.Option("--min-tokens-per-sec", metavar="N", help="As measured there.", min=0)] = 0.0,
    window: Annotated[int, typer.Option("--context-window", metavar="TOKENS", help="Of one request.", min=0)] = 0,
    accelerator: Annotated[
        str,
        typer.Option(
            "--accelerator",
            metavar="KIND",
            help="Such as gpu_cuda.",
            autocompletion=lambda: slugs(m.AcceleratorKind),
        ),
    ] = "",
    feature: Annotated[
        list[str], typer.Option("--feature", metavar="TAG", help="key or key=value; also embeddings, prompt_cache.")
    ] = [],  # noqa: B006
    modality: Annotated[
        str,
        typer.Option(
            "--modality",
            metavar="KIND",
            help="text, audio or vision; text if not said.",
            autocompletion=lambda: slugs(m.Modality),
        ),
    ] = "",
    exclusive: Annotated[bool, typer.Option("--exclusive", help="Alone on its instance; else one slot of it.")] = False,
    ttl: Annotated[str, typer.Option("--ttl", metavar="DURATION", help="Life after each renewal.")] = "5m",
    priority: Annotated[int, typer.Option("--priority", help="Waiting adds 1 each 10 s.", min=-100, max=100)] = 0,
    max_disruption: Annotated[
        str, typer.Option("--max-disruption", metavar="DURATION", help="Suspended at most so long.")
    ] = "30s",
    stop_after: Annotated[
        str, typer.Option("--stop-after", metavar="DURATION", help="End the engine when its node is cut off so long.")
    ] = "",
    fallback: Annotated[
        list[str], typer.Option("--fallback", metavar="NAME", help="Taken when what it has fails; repeatable.")
    ] = [],  # noqa: B006
    start: Annotated[datetime | None, typer.Option("--start", help="Wanted from then on; local time.")] = None,
    end: Annotated[datetime | None, typer.Option("--end", help="It ends then, renewed or not.")] = None,
) -> m.AcquireClaimRequest:
    """A fallback has to serve the same requests: it must have the context window, features and modality too."""
    served: dict[str, Any] = {
        "context_window": window,
        "features": feature,
        "modality": value_of(m.Modality, modality),
    }
    claim = m.RuntimeClaim(
        model_tag=model,
        min_tokens_per_sec=speed,
        accelerator=value_of(m.AcceleratorKind, accelerator),
        exclusive=exclusive,
        ttl=_duration(ttl),
        priority=priority,
        max_disruption=_duration(max_disruption),
        stop_after=_duration(stop_after) if stop_after else None,
        fallbacks=[m.ClaimRequirement(model_tag=name, **served) for name in fallback],
        window=m.ClaimWindow(start_time=_local(start), end_time=_local(end)) if start or end else None,
        **served,
    )
    return m.AcquireClaimRequest(project=resource_name("projects", project) if project else "", claim=claim)


def wishing(body: Body) -> Body:
    """The same command, whose second parameter is made of the options of `wish`."""
    _call, _request, *own = inspect.signature(body, eval_str=True).parameters.values()
    wished = inspect.signature(wish, eval_str=True).parameters

    async def run(call: Any, **given: Any) -> int | None:
        request = wish(**{name: given.pop(name) for name in wished})
        return await body(call, request, **given)

    run.__doc__ = body.__doc__
    keyword = (each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in (*own, *wished.values()))
    run.__signature__ = inspect.Signature([_call, *keyword])  # type: ignore[attr-defined]
    return run


def _duration(text: str) -> timedelta:
    return timedelta(seconds=seconds(text))


def _local(moment: datetime | None) -> datetime | None:
    return moment.astimezone() if moment else None
