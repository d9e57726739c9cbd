"""A llama-server that misbehaves on request. What to do lies in the JSON file named by --behaviour.

    {"ready_after": 0.2, "never_ready": false, "exit_after": null, "exit_code": 0, "say": [], "ignore_sigterm": false,
     "hang_after": null, "escape": false, "alias": null, "mute": false, "words": 0, "pause": 0, "slots": null,
     "devices": []}

It answers with so many words, and ends after a pause in seconds. A mute one takes requests, sends as many words as it
is told to and then nothing more; "slots" is "still" or "moving".

It lists its devices, such as "CUDA0", says that the model lies on the one it is given, and ends when that is none.

Each start adds a line with its pid to BEHAVIOUR.starts, each escaped grandchild one to BEHAVIOUR.escaped.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

HELP = """\
-h,    --help                           print usage and exit
--version                               show version
--list-devices                          list devices
-m,    --model FNAME                    model path
-a,    --alias STRING                   alias
--host HOST                             address
--port PORT                             port
--api-key-file FNAME                    keys
-c,    --ctx-size N                     context
-np,   --parallel N                     slots
-ngl,  --n-gpu-layers N                 layers
-dev,  --device DEV                     device
"""


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--behaviour", type=Path, required=True)
    for switch in ("--help", "--version", "--list-devices"):
        parser.add_argument(switch, action="store_true")
    parser.add_argument("--model")
    parser.add_argument("--alias", default="")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--api-key-file", type=Path)
    parser.add_argument("--ctx-size", type=int, default=0)
    parser.add_argument("--parallel", type=int, default=1)
    parser.add_argument("--n-gpu-layers", type=int, default=0)
    parser.add_argument("--device", default="none")
    return parser.parse_args()


class Engine:
    def __init__(self, given: argparse.Namespace, behaviour: dict[str, Any]) -> None:
        self.given = given
        self.behaviour = behaviour
        self.began = time.monotonic()
        self.slot_looks = 0
        self.key = given.api_key_file.read_text().strip() if given.api_key_file else ""

    def past(self, name: str) -> bool:
        limit = self.behaviour.get(name)
        return limit is not None and time.monotonic() - self.began > limit

    @property
    def ready(self) -> bool:
        return not self.behaviour.get("never_ready") and time.monotonic() - self.began > self.behaviour.get(
            "ready_after", 0
        )

    def slots(self) -> tuple[int, object]:
        if not self.behaviour.get("slots"):
            return 501, {"error": {"code": 501, "type": "not_supported_error"}}
        self.slot_looks += self.behaviour["slots"] == "moving"
        return 200, [{"id": 0, "is_processing": True, "n_prompt_tokens_processed": self.slot_looks}]

    def keep_silent(self) -> None:
        while self.behaviour.get("mute"):
            time.sleep(1)

    def answer(self, path: str, authorization: str | None) -> tuple[int, object]:
        if not self.ready:
            return 503, {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}}
        if path == "/health":
            return 200, {"status": "ok"}
        if authorization != f"Bearer {self.key}":
            return 401, {"error": {"code": 401, "type": "authentication_error"}}
        if path == "/slots":
            return self.slots()
        if path == "/props":
            slot = {"n_ctx": self.given.ctx_size // self.given.parallel}
            return 200, {"total_slots": self.given.parallel, "default_generation_settings": slot}
        return 200, {"object": "list", "data": [{"id": self.behaviour.get("alias") or self.given.alias}]}


def handler_for(engine: Engine) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            while engine.past("hang_after"):
                time.sleep(1)
            status, body = engine.answer(self.path, self.headers.get("authorization"))
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            self.send_response(200)
            self.send_header("transfer-encoding", "chunked")
            if not engine.behaviour.get("words"):
                engine.keep_silent()
            self.end_headers()
            self.wfile.write(b"4\r\nword\r\n" * engine.behaviour.get("words", 0))
            time.sleep(engine.behaviour.get("pause", 0))
            engine.keep_silent()
            self.wfile.write(b"0\r\n\r\n")

        def log_message(self, *_: object) -> None:
            return

    return Handler


def escape(note: Path) -> None:
    """A grandchild in a session of its own, with an orphan's life before it."""
    if os.fork() == 0:
        os.setsid()
        pid = os.fork()
        if pid == 0:
            time.sleep(600)
        with note.open("a") as file:
            file.write(f"{pid}\n")
        os._exit(0)
    os.wait()


def use_device(name: str, there: list[str]) -> None:
    if name == "none":
        return
    if name not in there:
        sys.exit(f"error: invalid device: {name}")
    print(f"using device {name} (Fake GPU) (0000:18:00.0) - 1 MiB free", file=sys.stderr)
    print("offloaded 3/3 layers to GPU", file=sys.stderr, flush=True)


def serve(given: argparse.Namespace, behaviour: dict[str, Any]) -> None:
    engine = Engine(given, behaviour)
    use_device(given.device, behaviour.get("devices", []))
    for line in behaviour.get("say", []):
        print(line, file=sys.stderr, flush=True)
    if behaviour.get("escape"):
        escape(given.behaviour.with_suffix(".escaped"))
    signal.signal(signal.SIGTERM, signal.SIG_IGN if behaviour.get("ignore_sigterm") else lambda *_: os._exit(0))
    if behaviour.get("exit_after") is not None:
        timer = threading.Timer(behaviour["exit_after"], os._exit, [behaviour.get("exit_code", 0)])
        timer.start()
    ThreadingHTTPServer((given.host, given.port), handler_for(engine)).serve_forever()


def main() -> None:
    given = parsed()
    if given.help:
        print(HELP)
    elif given.version:
        print("version: 0 (fake)", file=sys.stderr)
    elif given.list_devices:
        found = json.loads(given.behaviour.read_text()).get("devices", [])
        print("Available devices:", *(f"  {name}: Fake GPU (1 MiB, 1 MiB free)" for name in found), sep="\n")
    else:
        with given.behaviour.with_suffix(".starts").open("a") as file:
            file.write(f"{os.getpid()}\n")
        serve(given, json.loads(given.behaviour.read_text()))


if __name__ == "__main__":
    main()
