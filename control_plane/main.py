"""arw-control-plane: `init` makes all that a control plane keeps, `run` serves, `backup` and `restore` keep it safe."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from control_plane.settings import (
    AUTHORITY_SECRET_VARIABLE,
    DATABASE_VARIABLE,
    EVENTS_DAYS_VARIABLE,
    EVENTS_ROWS_VARIABLE,
    MANIFEST_SEPARATOR,
    MANIFEST_VARIABLE,
    NODE_RUNTIMES_VARIABLE,
    PORTS,
    STATE_DIR_VARIABLE,
    product_version,
    state_directory,
)
from wire.loading import loading
from wire.refusal import Refusal

EXIT_REFUSED = 2
_SECRET = (
    f"a file of mode 0600 with the secret that all replicas on a PostgreSQL have; default: ${AUTHORITY_SECRET_VARIABLE}"
)
_WORDS = (
    *("host", "advertise", "http_host", "http_certificate", "http_key"),
    *("database", "database_file", "authority_secret_file", "manifest_dir"),
)

_KEPT = {
    "events_days": ("--events-days", EVENTS_DAYS_VARIABLE, "for how many days events are kept", "30"),
    "events_rows": ("--events-rows", EVENTS_ROWS_VARIABLE, "how many events are kept at most", "1000000"),
    "node_runtimes": ("--node-runtimes", NODE_RUNTIMES_VARIABLE, "how many runtimes a node is given", "1000"),
}
"""Of each setting its flag, its variable, what it says and what is usual."""

_EXAMPLES = """\
examples:
  arw-control-plane run --context-file ~/.local/state/arw/context.json
  arw-control-plane run --host 0.0.0.0 --advertise control.example
  arw-control-plane run --database-file /etc/arw/database --authority-secret-file /etc/arw/secret
  arw-control-plane run --manifest-dir /etc/arw/manifests
  arw-control-plane backup arw-backup.tar
  arw-control-plane restore arw-backup.tar
  arw-control-plane check --output json
"""


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        return int(options.act(options))
    except Refusal as refusal:
        print(refusal.spoken, file=sys.stderr)  # noqa: T201 - the answer itself
        return EXIT_REFUSED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="arw-control-plane",
        description=__doc__,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"arw-control-plane {product_version()}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    init = commands.add_parser("init", help="make certificates, database and the operator's context file")
    init.set_defaults(act=_init)
    run = commands.add_parser("run", help="serve until SIGTERM or SIGINT; with --context-file, make that file first")
    run.set_defaults(act=_run)
    for command in (init, run):
        _add_options(command)
    _add_keeping(commands)
    seal = commands.add_parser("seal", help="seal the key of the authority in PostgreSQL by another secret")
    seal.set_defaults(act=_seal)
    seal.add_argument("--state-dir", help=f"default: ${STATE_DIR_VARIABLE}, else ~/.local/state/arw")
    seal.add_argument("--authority-secret-file", metavar="FILE", type=_absolute, required=True, help=_SECRET)
    return parser


def _add_keeping(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    backup = commands.add_parser("backup", help="write one file with all that a restore needs; also while it serves")
    backup.add_argument("--force", action="store_true", help="replace FILE when it is there")
    restore = commands.add_parser("restore", help="put a backup back; the control plane has to be stopped")
    renew = commands.add_parser("new-history", help="for a database that was put back by other means, stopped")
    check = commands.add_parser("check", help="look at what it keeps and say what to do; 1 when there is something")
    check.add_argument("--output", choices=("text", "json"), default="text")
    for command in (backup, restore):
        command.add_argument("file", metavar="FILE", type=Path)
    for command, act in ((backup, _backup), (restore, _restore), (renew, _new_history), (check, _check)):
        command.set_defaults(act=act)
        command.add_argument("--state-dir", help=f"default: ${STATE_DIR_VARIABLE}, else ~/.local/state/arw")


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
    command.add_argument(
        "--manifest",
        metavar="FILE",
        action="append",
        type=_absolute,
        help=f"load it at the start and whenever it changes; may be repeated (default ${MANIFEST_VARIABLE})",
    )
    command.add_argument(
        "--manifest-dir", metavar="DIR", type=_absolute, help="load every *.toml and *.json in it in the same way"
    )
    for name, (flag, variable, what, usual) in _KEPT.items():
        help_ = f"{what}; 0 takes it back (default ${variable}, else {usual})"
        command.add_argument(flag, dest=name, metavar="N", type=int, help=help_)
    database = command.add_mutually_exclusive_group()
    database.add_argument(
        "--database",
        metavar="URL",
        help=f"postgresql://USER@HOST:PORT/NAME, no password; or sqlite; default: ${DATABASE_VARIABLE}, else sqlite",
    )
    database.add_argument(
        "--database-file", metavar="FILE", type=_absolute, help="a file of mode 0600 that holds the address"
    )
    command.add_argument("--authority-secret-file", metavar="FILE", type=_absolute, help=_SECRET)


def _absolute(path: str) -> str:
    """An empty one takes back what was kept."""
    return str(Path(path).absolute()) if path else ""


def _init(options: argparse.Namespace) -> int:
    with loading():
        from control_plane import commands  # noqa: PLC0415 - half a second, which --help and a typing error need not wait

    return commands.init(*_given(options))


def _run(options: argparse.Namespace) -> int:
    with loading():
        from control_plane import commands  # noqa: PLC0415 - as above

    return commands.run(*_given(options))


def _seal(options: argparse.Namespace) -> int:
    with loading():
        from control_plane import commands  # noqa: PLC0415 - as above

    return commands.seal(state_directory(options.state_dir), options.authority_secret_file)


def _backup(options: argparse.Namespace) -> int:
    with loading():
        from control_plane import safekeeping  # noqa: PLC0415 - as above

    return safekeeping.backup(state_directory(options.state_dir), options.file.absolute(), force=options.force)


def _restore(options: argparse.Namespace) -> int:
    with loading():
        from control_plane import safekeeping  # noqa: PLC0415 - as above

    return safekeeping.restore(state_directory(options.state_dir), options.file.absolute())


def _new_history(options: argparse.Namespace) -> int:
    with loading():
        from control_plane import safekeeping  # noqa: PLC0415 - as above

    return safekeeping.new_history(state_directory(options.state_dir))


def _check(options: argparse.Namespace) -> int:
    with loading():
        from control_plane import checkup  # noqa: PLC0415 - as above

    return checkup.check(state_directory(options.state_dir), as_json=options.output == "json")


def _given(options: argparse.Namespace) -> tuple[Path, dict[str, Any], Path | None]:
    """The state directory, the settings that were named, and the context file."""
    told = {name: getattr(options, name) for name in (*PORTS, *_WORDS, *_KEPT) if getattr(options, name) is not None}
    if options.manifest is not None:
        told["manifests"] = MANIFEST_SEPARATOR.join(options.manifest)
    file = options.context_file
    return state_directory(options.state_dir), told, file.absolute() if file else None


if __name__ == "__main__":
    sys.exit(main())
