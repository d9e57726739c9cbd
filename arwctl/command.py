"""What every command shares: its state directory and context, its client, and how its failures are told."""

from __future__ import annotations

import asyncio
import inspect
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from arw_client.context import Context
from arw_client.errors import ArwError, ContextError, TimedOutError, UnreachableError
from arwctl import state_dir
from arwctl.exit_codes import EPILOG, ExitCode
from arwctl.format import Format
from arwctl.screen import Screen

if TYPE_CHECKING:
    from arw_client.client import Client

Body = Callable[..., Coroutine[Any, Any, int | None]]

Output = Annotated[Format, typer.Option("--output", "-o", help="Form of the result.")]
SHARED = {
    "state_dir": Annotated[str, typer.Option(help="State directory.", metavar="DIR", show_default=False)],
    "context": Annotated[str, typer.Option(help="Context file.", metavar="FILE", show_default=False)],
}


@dataclass(frozen=True, slots=True)
class Call:
    """One run of a command."""

    state_dir: Path
    context_file: Path
    screen: Screen = field(default_factory=Screen)

    @asynccontextmanager
    async def client(self, timeout_s: float = 10.0) -> AsyncIterator[Client]:
        from arw_client.client import connect  # noqa: PLC0415 - help and usage errors need no contract
        from arw_client.renewal import follow  # noqa: PLC0415 - as above

        async with connect(Context.load(self.context_file), timeout_s) as client:
            try:
                yield client
            finally:
                await follow(client, self.context_file)


def alone(text: str) -> typer.Typer:
    """For one command that is its own group."""
    return typer.Typer(rich_markup_mode=None, no_args_is_help=True, help=text, epilog=EPILOG, add_completion=False)


def group(text: str) -> typer.Typer:
    """For several commands; the shared options are taken here too."""
    app = alone(text)

    def shared(ctx: typer.Context, **given: str) -> None:
        ctx.find_root().obj.update({key: value for key, value in given.items() if value})

    _sign(shared, [])
    app.callback(help=text)(shared)
    return app


def command(app: typer.Typer, name: str) -> Callable[[Body], Body]:
    """Make an async function whose first parameter is a Call a command of `app`."""

    def register(body: Body) -> Body:
        app.command(name, epilog=EPILOG)(_runner(body))
        return body

    return register


def _runner(body: Body) -> Callable[..., None]:
    def run(ctx: typer.Context, **options: Any) -> None:
        given = {key: options.pop(key) or (ctx.find_root().obj or {}).get(key, "") for key in SHARED}
        sys.exit(finish(_call(given), lambda call: body(call, **options)))

    _sign(run, list(inspect.signature(body, eval_str=True).parameters.values())[1:])
    run.__doc__ = _laid_out(inspect.getdoc(body) or "")
    return run


def _laid_out(text: str) -> str:
    """With the examples line by line, as they are to be typed."""
    about, found, examples = text.partition("\n\nExamples:\n")
    return about + found.replace("Examples", "\b\nExamples") + "\n".join(f"  {line}" for line in examples.splitlines())


def _sign(function: Callable[..., None], own: Sequence[inspect.Parameter]) -> None:
    """Give a function the signature that typer reads: the context, its own options, then the shared ones."""
    keyword = inspect.Parameter.KEYWORD_ONLY
    shared = [inspect.Parameter(key, keyword, annotation=kind, default="") for key, kind in SHARED.items()]
    parameters = [
        inspect.Parameter("ctx", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context),
        *(parameter.replace(kind=keyword) for parameter in own),
        *shared,
    ]
    function.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    function.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}


def _call(given: Mapping[str, str]) -> Call:
    directory = state_dir.resolved(given["state_dir"])
    return Call(directory, state_dir.context_file(directory, given["context"]))


def finish(call: Call, body: Callable[[Call], Coroutine[Any, Any, int | None]]) -> ExitCode | int:
    """Run a command to its exit code; what it raised is told in two lines."""
    try:
        return asyncio.run(body(call)) or ExitCode.OK
    except ArwError as error:
        call.screen.error(error)
        return exit_code_of(error)
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        # The reader left, as `head` does. Python must not complain again when it flushes at exit.
        sys.stdout = None
        return ExitCode.OK


def exit_code_of(error: ArwError) -> ExitCode:
    match error:
        case UnreachableError() | ContextError():
            return ExitCode.UNREACHABLE
        case TimedOutError():
            return ExitCode.TIMEOUT
        case ArwError(reason="UNAVAILABLE" | "DRAINING"):
            return ExitCode.UNREACHABLE
        case _:
            return ExitCode.FAILED
