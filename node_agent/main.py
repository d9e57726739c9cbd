"""The node agent's command line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import wire  # noqa: F401 - sets GRPC_ENABLE_FORK_SUPPORT before anything imports grpc
from node_agent.domain.errors import JoinFailed
from node_agent.identity.join_token import JoinToken
from node_agent.settings import Settings, StateDirectory, default_state_root, product_version
from wire.loading import loading
from wire.refusal import Refusal

REFUSED = 2
DEFAULT_ENROLLMENT_PORT = 7444
STANDARD_INPUT = "-"

_EXAMPLES = """\
examples:
  arw-node-agent join --server 10.0.0.5:7444 --token-file token.txt
  arwctl nodes token create | arw-node-agent join --server 10.0.0.5:7444 --token-file -
  arw-node-agent run
  arw-node-agent status --output json
  arw-node-agent trust llama.cpp /usr/local/bin/llama-server
  arw-node-agent trust llama.cpp --image localhost/llama:1
  arw-node-agent trust external http://10.0.0.9:8000 --key-file key.txt
  arw-node-agent check
  arw-node-agent service install --user
  arw-node-agent stop
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """0: done. 2: refused, with the reason and what to do on stderr. Anything else is a fault."""
    given = _parser().parse_args(arguments)
    act: Callable[[argparse.Namespace, Settings], int] = given.act
    root = Path(given.state_dir).expanduser().absolute() if given.state_dir else default_state_root()
    try:
        return act(given, Settings(StateDirectory(root / "node_agent"), limits=_limits(given)))
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
    run = _command(commands, "run", "Serve until SIGTERM. Engines run on when the agent ends.", _run)
    run.add_argument("--leave-safe-mode", action="store_true", help="act again, though it died as it started before")
    _takes_limits(run)
    _command(commands, "stop", "End the agent, then every instance of this node.", _stop)
    status = _command(commands, "status", "Show agent, connection, certificate and instances; works offline.", _status)
    status.add_argument("--output", choices=("text", "json"), default="text")
    check = _command(commands, "check", "Explain what this machine can and will do; 1 when it cannot serve.", _check)
    check.add_argument("--output", choices=("text", "json"), default="text")
    _takes_limits(check)
    _add_service(commands)
    trust = _command(commands, "trust", "Let instances run this engine, as it is now.", _trust)
    trust.add_argument("adapter", help='for example "llama.cpp"')
    trust.add_argument(
        "path",
        nargs="?",
        default="",
        help="the engine's program, or the wheel's Python file; for external its http://HOST:PORT; with --image the "
        "program in it, unless it is the image's entry point",
    )
    trust.add_argument("--image", default="", metavar="NAME", help="a container image that this machine has")
    trust.add_argument("--key-file", type=Path, metavar="FILE", help="for external: holds the key that it asks for")
    _command(commands, "adapters", "List adapters and the engines trusted for each, as JSON.", _adapters)
    accept = _command(commands, "accept-history", "Agree that the control plane's records start anew.", _accept)
    accept.add_argument("history", help="as `status` names it")
    _command(commands, "confirm-move", "Agree that this state directory was moved here, not copied.", _confirm_move)
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


def _takes_limits(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config",
        metavar="FILE",
        default="",
        help="what this machine's owner lets run; default: node_agent.toml in the state directory, when it is there",
    )


def _limits(given: argparse.Namespace) -> Path | None:
    named: str = getattr(given, "config", "")
    return Path(named).expanduser().absolute() if named else None


def _add_service(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = "Let this machine's service manager run the agent; its restarts and upgrades never stop a model."
    service = _command(commands, "service", text, _service)
    service.add_argument("action", choices=("install", "uninstall", "print"))
    service.add_argument("--user", action="store_true", help="for your own user, not for the machine")
    service.add_argument(
        "--manager", choices=("systemd", "launchd", "windows"), default="", help="default: this machine's"
    )
    _takes_limits(service)


def _add_join(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    join = _command(commands, "join", "Give this machine an identity at a control plane.", _join)
    join.add_argument(
        "--server",
        required=True,
        metavar="HOST[:PORT]",
        help='its enrolment port, 7444 unless given; "-": the first line of standard input, the token follows',
    )
    join.add_argument("--name", default="", help="wished node id; the control plane makes one when it is missing")
    join.add_argument("--token-file", default="-", metavar="FILE", help='"-": standard input (the default)')
    join.add_argument("--engine", action="append", type=Path, default=[], metavar="PATH", help="trust this engine too")
    join.add_argument("--run", action="store_true", help="then serve, as `run` does")
    _takes_limits(join)
    join.add_argument("--force", action="store_true", help="give up the identity that this machine already has")


def _join(given: argparse.Namespace, settings: Settings) -> int:
    with loading():
        from node_agent import commands  # noqa: PLC0415 - grpc is slow to import and --help does not need it

    invitation = _invitation(given.server, given.token_file)
    return commands.join(settings, invitation, given.name, given.engine, force=given.force, then_run=given.run)


def _invitation(server: str, token_file: str) -> Callable[[], tuple[tuple[str, int], JoinToken]]:
    """Gives ((host, port), token). With both on standard input it may block: whoever starts us may not know yet."""
    if server == STANDARD_INPUT:
        return _awaited
    known = _server(server), JoinToken.parse(_token_text(token_file))
    return lambda: known


def _awaited() -> tuple[tuple[str, int], JoinToken]:
    server, _, token = sys.stdin.read().partition("\n")
    if not token:
        raise JoinFailed("Standard input ended before it named a server and a token.", "Join again.")
    return _server(server), JoinToken.parse(token)


def _run(given: argparse.Namespace, settings: Settings) -> int:
    with loading():
        from node_agent import commands  # noqa: PLC0415 - as above

    return commands.run(settings, leave_safe_mode=given.leave_safe_mode)


def _stop(_given: argparse.Namespace, settings: Settings) -> int:
    from node_agent import commands  # noqa: PLC0415 - as above

    return commands.stop(settings)


def _status(given: argparse.Namespace, settings: Settings) -> int:
    from node_agent import commands  # noqa: PLC0415 - as above

    return commands.status(settings, json_wanted=given.output == "json")


def _check(given: argparse.Namespace, settings: Settings) -> int:
    from node_agent import commands  # noqa: PLC0415 - as above

    return commands.check(settings, json_wanted=given.output == "json")


def _service(given: argparse.Namespace, settings: Settings) -> int:
    from node_agent import commands  # noqa: PLC0415 - as above

    return commands.service(settings, given.action, given.manager, of_user=given.user)


def _trust(given: argparse.Namespace, settings: Settings) -> int:
    from node_agent import commands  # noqa: PLC0415 - as above

    if given.image:
        return commands.trust_image(settings, given.adapter, given.image, given.path)
    return commands.trust(settings, given.adapter, given.path, given.key_file)


def _adapters(_given: argparse.Namespace, settings: Settings) -> int:
    from node_agent import commands  # noqa: PLC0415 - as above

    return commands.adapters(settings)


def _accept(given: argparse.Namespace, settings: Settings) -> int:
    from node_agent import commands  # noqa: PLC0415 - as above

    return commands.accept_history(settings, given.history)


def _confirm_move(_given: argparse.Namespace, settings: Settings) -> int:
    from node_agent import commands  # noqa: PLC0415 - as above

    return commands.confirm_move(settings)


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
    if source == STANDARD_INPUT:
        return sys.stdin.read()
    try:
        return Path(source).read_text()
    except OSError as error:
        remedy = "Give --token-file the file that holds the token, or - to read it from standard input."
        raise JoinFailed(f"The token file cannot be read: {error}.", remedy) from error


if __name__ == "__main__":
    sys.exit(main())
