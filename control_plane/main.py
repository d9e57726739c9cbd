"""arw-control-plane: `init` makes everything that a control plane keeps, `run` serves."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import structlog

from control_plane.app import ControlPlane, ground, product_version
from control_plane.initialise import initialise
from control_plane.process.clock import SystemClock
from control_plane.process.listening import check_port, free_ports
from control_plane.process.run_file import announced, locked
from control_plane.settings import STATE_DIR_VARIABLE, Paths, Settings, Timers, state_directory
from wire import event_loop
from wire.log_lines import LogLinesFactory
from wire.refusal import Refusal

EXIT_REFUSED = 2
_PORTS = {
    "grpc_port": ("--grpc-port", "gRPC"),
    "enrollment_port": ("--enrollment-port", "enrolment"),
    "relay_port": ("--relay-port", "the relay"),
    "http_port": ("--http-port", "HTTP"),
}
_WORDS = ("host", "advertise", "http_host", "http_certificate", "http_key")


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    _log_to_stderr(options.log_level)
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
    init.set_defaults(act=_init, log_level=logging.WARNING)
    run = commands.add_parser("run", help="serve until SIGTERM or SIGINT; with --context-file, init first")
    run.set_defaults(act=_run, log_level=logging.INFO)
    for command in (init, run):
        _add_options(command)
    return parser


def _add_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--state-dir", help=f"default: ${STATE_DIR_VARIABLE}, else ~/.local/state/arw")
    command.add_argument(
        "--context-file", type=Path, help="the operator's context; default of init: in the state directory"
    )
    for name, (flag, what) in _PORTS.items():
        command.add_argument(flag, dest=name, type=int, help=f"port for {what}; 0 takes a free one")
    command.add_argument("--host", help="where gRPC, enrolment and the relay listen (default 127.0.0.1)")
    command.add_argument("--advertise", help="the host that others dial, when it is not --host")
    command.add_argument("--http-host", help="where HTTP listens (default 127.0.0.1)")
    command.add_argument("--http-certificate", help="chain in PEM for HTTP; needed beyond loopback")
    command.add_argument("--http-key", help="key in PEM for HTTP")


def _init(options: argparse.Namespace) -> int:
    paths = _prepared(options)
    context_file = options.context_file or paths.state / "context.json"
    asyncio.run(_initialised(paths, context_file.absolute()))
    print(f"Initialised {paths.directory}; the operator's context is {context_file}")  # noqa: T201 - the answer itself
    return 0


def _prepared(options: argparse.Namespace) -> Paths:
    """The state directory, with what the flags say kept in its settings."""
    paths = Paths(state_directory(options.state_dir))
    paths.make()
    kept = Settings.load(paths.settings)
    settings = _told(kept, options)
    if settings != kept or not paths.settings.exists():
        settings.save(paths.settings)
    return paths


async def _initialised(paths: Paths, context_file: Path) -> None:
    settings = Settings.load(paths.settings)
    await initialise(settings, Timers.chosen(os.environ), paths, SystemClock(), context_file)


def _told(settings: Settings, options: argparse.Namespace) -> Settings:
    """What was kept, changed by what the flags say."""
    given = {name: getattr(options, name) for name in (*_PORTS, *_WORDS) if getattr(options, name) is not None}
    told = {**asdict(settings), **given}
    open_ones = [name for name in _PORTS if told[name] == 0]
    return Settings(**{**told, **dict(zip(open_ones, free_ports(told["host"], len(open_ones)), strict=True))})


def _run(options: argparse.Namespace) -> int:
    paths = _prepared(options)
    if options.context_file:
        asyncio.run(_initialised(paths, options.context_file.absolute()))
    with locked(paths.lock, paths.run):
        settings = Settings.load(paths.settings)
        for name, (flag, what) in _PORTS.items():
            host = settings.http_host if name == "http_port" else settings.host
            check_port(host, getattr(settings, name), what, flag)
        event_loop.run(_serve(settings, paths))
    return 0


async def _serve(settings: Settings, paths: Paths) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with ground(settings, Timers.chosen(os.environ), paths, SystemClock()) as on:
        await ControlPlane(on).run(stop, partial(announced, paths.run))


def _log_to_stderr(level: int) -> None:
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=LogLinesFactory(),
    )


if __name__ == "__main__":
    sys.exit(main())
