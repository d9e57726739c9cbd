"""llama-server's command line over the xllamacpp wheel. Run by path; knows nothing of the agent.

It takes exactly the options that --help lists, prints the engine's own log on stderr, answers 503 while the model
loads, and ends with status 0 on SIGTERM.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

ENDING = (signal.SIGTERM, signal.SIGINT)
POOLING = ("none", "mean", "cls", "last", "rank")
CACHE_TYPES = ("f16", "bf16", "q8_0", "q4_0")


class _Parser(argparse.ArgumentParser):
    """Refuses as llama-server does."""

    def error(self, message: str) -> NoReturn:
        _tell(f"error: {message}")
        sys.exit(1)

    def format_help(self) -> str:
        """One option a line from its first column on, as llama-server prints it."""
        return "".join(f"{_spellings(action):<40}{action.help}\n" for action in self._actions)

    def only_known(self, argv: Sequence[str]) -> argparse.Namespace:
        known, unknown = self.parse_known_args(argv)
        if unknown:
            self.error(f"invalid argument: {unknown[0]}")
        return known


def _tell(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def _spellings(action: argparse.Action) -> str:
    value = "" if action.nargs == 0 else " VALUE"
    return ", ".join(action.option_strings) + value


def _parser() -> _Parser:
    parser = _Parser(prog="llama-server", allow_abbrev=False, add_help=True)
    add = parser.add_argument
    add("--version", action="store_true", help="show version and build info")
    add("--list-devices", action="store_true", help="print list of available devices and exit")
    add("-m", "--model", default="", help="model path to load")
    add("-mm", "--mmproj", default="", help="path to a multimodal projector file")
    add("-a", "--alias", default="", help="set model name aliases, comma-separated")
    add("--host", default="127.0.0.1", help="ip address to listen on")
    add("--port", type=int, default=8080, help="port to listen on; 0: any free one")
    add("--api-key-file", default="", help="path to file containing API keys, one per line")
    add("-c", "--ctx-size", type=int, default=0, help="size of the prompt context for all slots; 0: from the model")
    add("-np", "--parallel", type=int, default=1, help="number of server slots")
    add("--no-kv-unified", action="store_true", help="each slot has its own part of the context")
    add("-b", "--batch-size", type=int, default=2048, help="logical maximum batch size")
    add("-ub", "--ubatch-size", type=int, default=512, help="physical maximum batch size")
    add("-ctk", "--cache-type-k", choices=CACHE_TYPES, default="f16", help="KV cache data type for K")
    add("-ctv", "--cache-type-v", choices=CACHE_TYPES, default="f16", help="KV cache data type for V")
    add("-t", "--threads", type=int, default=-1, help="number of CPU threads to use during generation")
    add("-tb", "--threads-batch", type=int, default=-1, help="number of threads to use during prompt processing")
    add("-ngl", "--n-gpu-layers", type=int, default=-1, help="max. number of layers to store in VRAM")
    add("-lv", "--log-verbosity", type=int, default=3, help="how much to log")
    add("--embeddings", action="store_true", help="restrict to only support embedding use case")
    add("--pooling", choices=POOLING, help="pooling type for embeddings")
    add("--slot-save-path", default="", help="path to save slot kv cache; an existing folder")
    add("--metrics", action="store_true", help="enable prometheus compatible metrics endpoint")
    add("--no-warmup", action="store_true", help="skip warming up the model with an empty run")
    add("--no-ui", action="store_true", help="do not serve the Web UI")
    add("--offline", action="store_true", help="no network access")
    add("-fit", "--fit", choices=("on", "off"), default="on", help="adjust unset arguments to fit in device memory")
    add("--cors-origins", default="*", help="comma-separated list of allowed origins for CORS")
    return parser


def main(argv: Sequence[str]) -> int:
    given = _parser().only_known(argv)
    if given.version:
        _tell(f"version: {_version()} (xllamacpp)")
        return 0
    if given.list_devices:
        _list_devices()
        return 0
    if not given.model:
        _parser().error("invalid argument: --model is missing")
    return _serve(given)


def _version() -> str:
    from importlib.metadata import version  # noqa: PLC0415 - an engine that starts need not wait for it

    return version("xllamacpp")


def _engine() -> Any:
    import xllamacpp  # noqa: PLC0415 - the help must not wait for 100 MB of shared library

    return xllamacpp


def _list_devices() -> None:
    devices = [device for device in _engine().get_device_info() if device["type"].name.endswith("_GPU")]
    sys.stdout.write("Available devices:\n")
    for device in devices:
        free, total = device["memory_free"] >> 20, device["memory_total"] >> 20
        sys.stdout.write(f"  {device['name']}: {device['description']} ({total} MiB, {free} MiB free)\n")
    if not devices:
        sys.stdout.write("  (none)\n")


def _serve(given: argparse.Namespace) -> int:
    engine = _engine()
    parameters = _parameters(engine, given)
    try:
        server = engine.Server(parameters)
    except RuntimeError as error:
        _tell(f"error: {error}")
        return 1
    _until_told()
    del server
    return 0


def _until_told() -> None:
    """Wait for the first SIGTERM or SIGINT. A second one ends the process at once, as open requests may linger.

    The engine's own threads may get the signal, so only a descriptor wakes this one for certain.
    """
    told, tell = os.pipe2(os.O_CLOEXEC)
    os.set_blocking(tell, False)
    signal.set_wakeup_fd(tell)
    for number in ENDING:
        signal.signal(number, lambda *_: None)
    os.read(told, 1)
    for number in ENDING:
        signal.signal(number, signal.SIG_DFL)


def _parameters(engine: Any, given: argparse.Namespace) -> Any:
    parameters = engine.CommonParams()
    parameters.model.path = given.model
    if given.mmproj:
        parameters.mmproj.path = given.mmproj
    parameters.hostnames = [given.host]
    parameters.port = given.port
    parameters.model_alias = {name for name in given.alias.split(",") if name}
    parameters.api_keys = _keys(given.api_key_file)
    _size(parameters, given)
    parameters.cache_type_k = _cache_type(engine, given.cache_type_k)
    parameters.cache_type_v = _cache_type(engine, given.cache_type_v)
    parameters.n_gpu_layers = given.n_gpu_layers
    parameters.verbosity = given.log_verbosity
    parameters.embedding = given.embeddings
    if given.pooling:
        parameters.pooling_type = getattr(engine.llama_pooling_type, f"LLAMA_POOLING_TYPE_{given.pooling.upper()}")
    parameters.endpoint_metrics = given.metrics
    if given.slot_save_path:
        parameters.slot_save_path = _folder(given.slot_save_path)
    parameters.warmup = not given.no_warmup
    parameters.ui = not given.no_ui
    parameters.offline = given.offline
    parameters.fit_params = given.fit == "on"
    parameters.cors_origins = given.cors_origins
    parameters.cors_origins_explicit = given.cors_origins != "*"
    return parameters


def _size(parameters: Any, given: argparse.Namespace) -> None:
    """The library sizes embeddings by the physical batch, so there both batches must agree."""
    parameters.n_ctx = given.ctx_size
    parameters.n_parallel = given.parallel
    parameters.kv_unified = False
    parameters.n_batch = given.batch_size
    parameters.n_ubatch = given.batch_size if given.embeddings else min(given.ubatch_size, given.batch_size)
    threads = given.threads if given.threads > 0 else len(os.sched_getaffinity(0))
    parameters.cpuparams.n_threads = threads
    parameters.cpuparams_batch.n_threads = given.threads_batch if given.threads_batch > 0 else threads


def _cache_type(engine: Any, name: str) -> Any:
    return getattr(engine.ggml_type, f"GGML_TYPE_{name.upper()}")


def _folder(path: str) -> str:
    """The library puts names right behind it."""
    if not Path(path).is_dir():
        _parser().error(f"not a directory: {path}")
    return path if path.endswith("/") else f"{path}/"


def _keys(path: str) -> list[str]:
    if not path:
        return []
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        _parser().error(f"error while handling argument --api-key-file: {error}")
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
