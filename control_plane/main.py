"""arw-control-plane: `init` makes everything that a control plane keeps, `run` serves."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from control_plane.settings import PORTS, STATE_DIR_VARIABLE, product_version, state_directory
from wire.loading import loading
from wire.refusal import Refusal

EXIT_REFUSED = 2
_WORDS = ("host", "advertise", "http_host", "http_certificate", "http_key")


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        return int(options.act(options))
    except Refusal as refusal:
        print(refusal.spoken, file=sys.stderr)  # noqa: T201 - the answer itself
        return EXIT_REFUSED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="arw-control-plane", description=__doc__)
    parser.add_argument("--version", action="version", version=f"arw-control-plane {product_version()}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    init = commands.add_parser("init", help="make certificates, database and the operator's context file")
    init.set_defaults(act=_init)
    run = commands.add_parser("run", help="serve until SIGTERM or SIGINT; with --context-file, make that file first")
    run.set_defaults(act=_run)
    for command in (init, run):
        _add_options(command)
    return parser


def _add_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--state-dir", help=f"default: ${STATE_DIR_VARIABLE}, else ~/.local/state/arw")
    command.add_argument(
        "--context-file", type=Path, help="the operator's context; default of init: in the state directory"
    )
    for name, (flag, what) in PORTS.items():
        command.add_argument(flag, dest=name, type=int, help=f"port for {what}; 0 takes a free one")
    command.add_argument("--host", help="where gRPC, enrolment and the relay listen (default 127.0.0.1)")
    command.add_argument("--advertise", help="the host that others dial, when it is not --host")
    command.add_argument("--http-host", help="where HTTP listens (default 127.0.0.1)")
    command.add_argument("--http-certificate", help="chain in PEM for HTTP; needed beyond loopback")
    command.add_argument("--http-key", help="key in PEM for HTTP")


def _init(options: argparse.Namespace) -> int:
    with loading():
        from control_plane import commands  # noqa: PLC0415 - half a second, which --help and a typing error need not wait

    return commands.init(*_given(options))


def _run(options: argparse.Namespace) -> int:
    with loading():
        from control_plane import commands  # noqa: PLC0415 - as above

    return commands.run(*_given(options))


def _given(options: argparse.Namespace) -> tuple[Path, dict[str, Any], Path | None]:
    """The state directory, the settings that were named, and the context file."""
    told = {name: getattr(options, name) for name in (*PORTS, *_WORDS) if getattr(options, name) is not None}
    file = options.context_file
    return state_directory(options.state_dir), told, file.absolute() if file else None


if __name__ == "__main__":
    sys.exit(main())
