"""The command line. Each group is imported when it is used, so that help is quick."""

from __future__ import annotations

import gc
import sys
from importlib import import_module
from typing import Annotated, Any

import typer
import typer.core
import typer.main

from arwctl.exit_codes import EPILOG

GROUPS = {
    "up": "Start the control plane and the node agent of this machine; only what is missing.",
    "down": "Stop both, and every runtime of this machine.",
    "demo": "Show the whole loop in a temporary state directory, then clean up.",
    "nodes": "See, admit, label and revoke machines.",
    "runtime": "Declare, watch, restore, stop and explain runtimes.",
    "chat": "Ask a runtime and print its reply.",
    "transcribe": "Write down what is said in a recording.",
    "jobs": "See, follow and cancel work on runtimes that takes its time.",
    "events": "Read the journal of what happened.",
    "state": "See what the control plane does by itself.",
    "model": "Record, list and measure model files.",
    "claim": "Claim capacity that a program can rely on, and run it under the claim.",
    "project": "Give projects API keys, and pin them to runtimes.",
    "admin": "Back up and restore the control plane; see whether all is well; rotate its authority.",
    "version": "Print the versions of this program and of the control plane.",
}


LOOK_FOR_GARBAGE_EVERY = 100_000
"""New objects. After 700, as is Python's habit, would cost a tenth of the time that imports take."""


class LazyGroup(typer.core.TyperGroup):
    """Commands by name and one line; the module behind a name is imported when the name is used."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - typer's shape
        return list(GROUPS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002 - typer's shape
        if cmd_name not in GROUPS:
            return None
        command = typer.main.get_command(import_module(f"arwctl.groups.{cmd_name}").app)
        command.name = cmd_name
        return command

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 - typer's shape
        with formatter.section("Commands"):
            formatter.write_dl(list(GROUPS.items()))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        # Typer offers near names from here.
        self.commands = dict.fromkeys(GROUPS, self)
        return super().resolve_command(ctx, args)


app = typer.Typer(
    cls=LazyGroup, rich_markup_mode=None, no_args_is_help=True, epilog=EPILOG, pretty_exceptions_enable=False
)


@app.callback()
def everything(
    ctx: typer.Context,
    state_dir: Annotated[str, typer.Option(envvar="ARW_STATE_DIR", help="State directory.", metavar="DIR")] = "",
    context: Annotated[str, typer.Option(envvar="ARW_CONTEXT", help="Context file.", metavar="FILE")] = "",
) -> None:
    """Run AI models on the machines you have."""
    ctx.obj = {"state_dir": state_dir, "context": context}


def main() -> None:
    gc.set_threshold(LOOK_FOR_GARBAGE_EVERY)
    try:
        sys.exit(app(prog_name="arwctl"))
    finally:
        # The interpreter would look through everything once more before it ends.
        gc.freeze()
