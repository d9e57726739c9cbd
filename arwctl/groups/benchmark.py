"""The command that measures how fast a runtime answers; `arwctl.groups.model` names it."""

from __future__ import annotations

from typing import Annotated

import typer

from arwctl import benchmarking
from arwctl.command import Call, Output
from arwctl.format import Format
from arwctl.groups.chat import waiting
from arwctl.output import emit

Name = Annotated[str, typer.Argument(metavar="NAME", help="As requests say it: a runtime's id or name, or a model's.")]


async def benchmark(
    call: Call,
    name: Name,
    *,
    requests: Annotated[int, typer.Option("--requests", help="One after another.", min=1, max=100)] = 3,
    tokens: Annotated[int, typer.Option("--tokens", help="At most so many of each reply.", min=1, max=4096)] = 128,
    output: Output = Format.TABLE,
) -> None:
    """Measure how fast a runtime answers one request at a time, by its engine's own clock.

    A first request warms it up and does not count. Others that use it meanwhile make it slower.

    Examples:
    arwctl model benchmark tiny-chat
    arwctl model benchmark tiny-chat --requests 5 --tokens 64 -o json
    """
    async with call.client() as client:
        chat = client.chat()
        prompts = [benchmarking.asked(name, tokens) for _ in range(requests + 1)]
        _, *runs = [benchmarking.run_of(await chat.reply(prompt, waiting(call))) for prompt in prompts]
    found = benchmarking.summary(name, runs)
    if output is not Format.TABLE:
        return emit(call.screen, found, output)
    for run in runs:
        call.screen.line(
            f"  {run.prompt_tokens} tokens read at {run.prompt_tokens_per_second:.1f}/s, "
            f"{run.generated_tokens} made at {run.generated_tokens_per_second:.1f}/s"
        )
    reads, makes = found["prompt_tokens_per_second"], found["generated_tokens_per_second"]
    return call.screen.line(f"{name}: reads {reads:.1f} and makes {makes:.1f} tokens/s, the middle of {len(runs)}")
