"""The node agent's command line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import wire  # noqa: F401 - sets GRPC_ENABLE_FORK_SUPPORT before anything imports grpc
from node_agent.domain.errors import JoinFailed
from node_agent.settings import Settings, StateDirectory, default_state_root, product_version
from wire.refusal import Refusal

REFUSED = 2
DEFAULT_ENROLLMENT_PORT = 7444

_EXAMPLES = """\
examples:
  arw-node-agent join --server 10.0.0.5:7444 --token-file token.txt
  arwctl nodes token create | arw-node-agent join --server 10.0.0.5:7444 --token-file -
  arw-node-agent run
  arw-node-agent status --output json
  arw-node-agent trust llama.cpp /usr/local/bin/llama-server
  arw-node-agent stop
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """0: done. 2: refused, with the reason and what to do on stderr. Anything else is a fault."""
    given = _parser().parse_args(arguments)
    act: Callable[[argparse.Namespace, Settings], int] = given.act
    root = Path(given.state_dir).expanduser().absolute() if given.state_dir else default_state_root()
    try:
        return act(given, Settings(StateDirectory(root / "node_agent")))
    except Refusal as refusal:
        print(refusal.spoken, file=sys.stderr)  # noqa: T201 - the command line speaks here
        return REFUSED
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="arw-node-agent",
        description="Runs AI models on this machine for a control plane.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"arw-node-agent {product_version()}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_join(commands)
    _command(commands, "run", "Serve until SIGTERM. Engines run on when the agent ends.", _run)
    _command(commands, "stop", "End the agent, then every instance of this node.", _stop)
    status = _command(commands, "status", "Show agent, connection, certificate and instances; works offline.", _status)
    status.add_argument("--output", choices=("text", "json"), default="text")
    trust = _command(commands, "trust", "Let instances run this engine, as it is now.", _trust)
    trust.add_argument("adapter", help='for example "llama.cpp"')
    trust.add_argument("path", type=Path, help="the engine's program, or the wheel's Python file")
    accept = _command(commands, "accept-history", "Agree that the control plane's records start anew.", _accept)
    accept.add_argument("history", help="as `status` names it")
    return parser


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    text: str,
    act: Callable[[argparse.Namespace, Settings], int],
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=text)
    parser.add_argument("--state-dir", metavar="DIR", default="", help="default: $ARW_STATE_DIR or ~/.local/state/arw")
    parser.set_defaults(act=act)
    return parser


def _add_join(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    join = _command(commands, "join", "Give this machine an identity at a control plane.", _join)
    join.add_argument("--server", required=True, metavar="HOST[:PORT]", help="its enrolment port, 7444 unless given")
    join.add_argument("--name", default="", help="wished node id; the control plane makes one when it is missing")
    join.add_argument("--token-file", default="-", metavar="FILE", help='"-": standard input (the default)')
    join.add_argument("--engine", action="append", type=Path, default=[], metavar="PATH", help="trust this engine too")
    join.add_argument("--run", action="store_true", help="then serve, as `run` does")
    join.add_argument("--force", action="store_true", help="give up the identity that this machine already has")


def _join(given: argparse.Namespace, settings: Settings) -> int:
    from node_agent import commands  # noqa: PLC0415 - grpc is slow to import and --help does not need it

    host, port = _server(given.server)
    text = _token_text(given.token_file)
    status = commands.join(settings, (host, port), text, given.name, given.engine, force=given.force)
    return commands.run(settings) if given.run and status == 0 else status


def _run(_given: argparse.Namespace, settings: Settings) -> int:
    from node_agent import commands  # noqa: PLC0415 - as above

    return commands.run(settings)


def _stop(_given: argparse.Namespace, settings: Settings) -> int:
    from node_agent import commands  # noqa: PLC0415 - as above

    return commands.stop(settings)


def _status(given: argparse.Namespace, settings: Settings) -> int:
    from node_agent import commands  # noqa: PLC0415 - as above

    return commands.status(settings, json_wanted=given.output == "json")


def _trust(given: argparse.Namespace, settings: Settings) -> int:
    from node_agent import commands  # noqa: PLC0415 - as above

    return commands.trust(settings, given.adapter, given.path)


def _accept(given: argparse.Namespace, settings: Settings) -> int:
    from node_agent import commands  # noqa: PLC0415 - as above

    return commands.accept_history(settings, given.history)


def _server(text: str) -> tuple[str, int]:
    """(host, port) of "host", "host:port" or "[v6]:port"."""
    parts = urlsplit(f"//{text}")
    try:
        host, port = parts.hostname, parts.port or DEFAULT_ENROLLMENT_PORT
    except ValueError:
        host = None
    if not host or parts.path or parts.username:
        raise JoinFailed(f"{text!r} is no address.", "Give --server as HOST:PORT, for example 10.0.0.5:7444.")
    return host, port


def _token_text(source: str) -> str:
    if source == "-":
        return sys.stdin.read()
    try:
        return Path(source).read_text()
    except OSError as error:
        remedy = "Give --token-file the file that holds the token, or - to read it from standard input."
        raise JoinFailed(f"The token file cannot be read: {error}.", remedy) from error


if __name__ == "__main__":
    sys.exit(main())
