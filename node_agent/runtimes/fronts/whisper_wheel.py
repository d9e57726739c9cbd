"""whisper-server's command line over the pywhispercpp wheel. Run by path; needs nothing of the agent but its fronts.

It takes exactly the options that --help lists and listens once the model is loaded. Unlike whisper-server it asks for
a key and ends with status 1 when it refuses an option.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

ENDING = (signal.SIGTERM, signal.SIGINT)
MANY_THREADS = 4
EXIT_MODEL = 3
"""As whisper-server's."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        _tell(f"error: {message}")
        sys.exit(1)

    def format_help(self) -> str:
        """One option a line, as whisper-server prints it."""
        options = (f"  {_spellings(action):<38} [{_default(action)}] {action.help}\n" for action in self._actions)
        return f"version: {_version()}\nusage: {self.prog} [options]\n\noptions:\n{''.join(options)}"

    def only_known(self, argv: Sequence[str]) -> argparse.Namespace:
        known, unknown = self.parse_known_args(argv)
        if unknown:
            self.error(f"unknown argument: {unknown[0]}")
        return known


def _tell(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def _spellings(action: argparse.Action) -> str:
    return ", ".join(action.option_strings) + ("" if action.nargs == 0 else " VALUE")


def _default(action: argparse.Action) -> str:
    return "" if action.default in {None, argparse.SUPPRESS} else f"{action.default}"


def _parser() -> _Parser:
    parser = _Parser(prog="whisper-server", allow_abbrev=False)
    add = parser.add_argument
    add("-m", "--model", default="", help="model path")
    add("--host", default="127.0.0.1", help="address to listen on")
    add("--port", type=int, default=8080, help="port to listen on")
    add("--alias", default="", help="name of the model in /v1/models")
    add("--api-key-file", default="", help="path to a file containing API keys, one per line")
    add("-t", "--threads", type=int, default=_threads(), help="number of threads to use during computation")
    add("-l", "--language", default="en", help="spoken language ('auto' for auto-detect)")
    add("-tr", "--translate", action="store_true", default=False, help="translate from source language to english")
    add("-ng", "--no-gpu", action="store_true", default=False, help="do not use gpu")
    add("-dev", "--device", type=int, default=0, help="GPU device ID")
    add("--no-warmup", action="store_true", default=False, help="do not try the model on silence first")
    return parser


def _version() -> str:
    return f"{importlib.metadata.version('pywhispercpp')} (pywhispercpp)"


def _threads() -> int:
    return min(MANY_THREADS, len(os.sched_getaffinity(0)))


def main(argv: Sequence[str]) -> int:
    given = _parser().only_known(argv)
    if not given.model:
        _parser().error("--model is missing")
    keys = _keys(given.api_key_file)
    return _serve(given, keys)


def _know_the_package() -> None:
    """By its own folder: Python would look through the one that it lies in, which the sandbox does not show."""
    package = Path(__file__).resolve().parents[2]
    spec = importlib.util.spec_from_file_location(
        package.name, package / "__init__.py", submodule_search_locations=[str(package)]
    )
    if package.name not in sys.modules and spec is not None:
        sys.modules[package.name] = importlib.util.module_from_spec(spec)


def _serve(given: argparse.Namespace, keys: Sequence[str]) -> int:
    _know_the_package()
    from node_agent.runtimes.fronts import whisper_engine, whisper_server  # noqa: PLC0415 - the help needs neither

    default = whisper_engine.Wanted(given.language.lower(), translate=given.translate)
    if not whisper_engine.knows(default.language):
        _parser().error(f"unknown language '{given.language}'")
    device = None if given.no_gpu else given.device
    try:
        engine = whisper_engine.Engine(given.model, threads=given.threads, device=device)
        if not given.no_warmup:
            engine.warm_up()
    except (whisper_engine.ModelUnusable, RuntimeError) as error:
        _tell(f"error: failed to initialize whisper context {error}".rstrip())
        return EXIT_MODEL
    name = given.alias or Path(given.model).stem
    try:
        front = whisper_server.Front((given.host, given.port), engine, default, keys, name)
    except OSError as error:
        _tell(f"couldn't bind to server socket: hostname={given.host} port={given.port}: {error.strerror}")
        return 1
    with front.serving():
        sys.stdout.write(f"whisper server listening at http://{given.host}:{front.server_port}\n")
        sys.stdout.flush()
        _until_told()
    # A thread may still compute; ending the interpreter around it would crash.
    os._exit(0)


def _until_told() -> None:
    """Wait for the first SIGTERM or SIGINT. A second one ends the process at once."""
    told, tell = os.pipe2(os.O_CLOEXEC)
    os.set_blocking(tell, False)
    signal.set_wakeup_fd(tell)
    for number in ENDING:
        signal.signal(number, lambda *_: None)
    os.read(told, 1)
    for number in ENDING:
        signal.signal(number, signal.SIG_DFL)


def _keys(path: str) -> list[str]:
    if not path:
        return []
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        _parser().error(f"--api-key-file: {error}")
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
