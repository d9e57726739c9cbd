"""A control plane and an agent of our own, driven by the command line, with an engine of our choice."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from arwctl.local.ports import free_ports

ARWCTL = Path(sys.executable).with_name("arwctl")
GPU_IN_LOG = re.compile(r"cuda|metal|vulkan|directml|hip|gpu acceleration", re.IGNORECASE)
SPOKEN = ("label", "detail", "aria_hint", "severity_label")


class SmokeError(Exception):
    """What did not hold."""


class Stack:
    def __init__(self, folder: Path, timeout_s: float | None, server: Path | None = None) -> None:
        """`server`: a control plane with an arwctl beside it; None: the one installed here."""
        self._folder = folder
        self._arwctl = ARWCTL if server is None else server.with_name("arwctl")
        self._end = time.monotonic() + timeout_s if timeout_s else None
        # Found first on PATH, so an engine put there is the one that joins the node's trusted list.
        path = f"{folder / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"
        self._environment = {**os.environ, "PATH": path, "ARW_STATE_DIR": str(folder / "state")}

    def engine(self, command: list[str], arguments: str) -> None:
        """Make `command` the node's llama-server; `arguments` come before those of the agent."""
        script = self._folder / "bin" / "llama-server"
        script.parent.mkdir()
        script.write_text(f'#!/bin/sh\nexec {shlex.join([*command, *shlex.split(arguments)])} "$@"\n')
        script.chmod(0o700)
        # What the script calls is not the engine that is trusted, so the node's owner lets it be used.
        owner = self._folder / "state" / "node_agent.toml"
        owner.parent.mkdir(parents=True)
        called = [str(Path(word).parent) for word in command if Path(word).is_absolute()]
        owner.write_text(f"[sandbox]\nuse = {json.dumps(called)}\n")
        owner.chmod(0o600)

    def arwctl(self, *words: str) -> str:
        left = None if self._end is None else max(self._end - time.monotonic(), 0.1)
        try:
            done = subprocess.run(
                [self._arwctl, *words], capture_output=True, text=True, timeout=left, env=self._environment, check=False
            )
        except subprocess.TimeoutExpired:
            raise SmokeError(f"time ran out during `arwctl {' '.join(words)}`") from None
        if done.returncode:
            raise SmokeError(f"`arwctl {' '.join(words)}` ended with {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def simulate_gpu(self, wanted: bool) -> None:
        """Whether the node claims a GPU that is not there."""
        self._environment["LLAMA_GPU_SIMULATE"] = "1" if wanted else "0"

    def simulated_devices(self) -> list[str]:
        """Names of the devices that the node lists as simulated, as people see them."""
        (node,) = json.loads(self.arwctl("nodes", "list", "--output", "json"))
        shown = self.arwctl("nodes", "show", "smoke")
        names = [device["display_name"] for device in node["inventory"]["accelerators"] if device["simulated"]]
        unmarked = [name for name in names if f"{name} (simulated)" not in shown]
        if unmarked:
            raise SmokeError(f"the node shows {', '.join(unmarked)} without the word simulated")
        return names

    def up(self) -> None:
        ports = [word for name, port in free_ports().items() for word in (f"--{name}", str(port))]
        self.arwctl("up", "--detach", "--node", "smoke", *ports)

    def down(self) -> None:
        """Even when time ran out."""
        self._end = None
        self.arwctl("down")

    def apply(self, model: Path, accelerator: str, projector: Path | None = None) -> None:
        """`projector`: what makes it take pictures."""
        file = self._folder / "smoke.json"
        runtime = {
            "id": "smoke",
            "adapter": "llama.cpp",
            "model": "smoke",
            "auto_start": True,
            "modalities": ["text", "vision"] if projector else ["text"],
            "accelerator": accelerator,
            "on_missing_accelerator": "degrade",
            "settings": {"context_length": 1024, "slots": 1},
        }
        models = [{"id": "smoke", "path": str(model), **({"projector": str(projector)} if projector else {})}]
        file.write_text(json.dumps({"version": 1, "models": models, "runtimes": [runtime]}))
        self.arwctl("runtime", "apply", "-f", str(file), "--wait")

    def chat(self, question: str = "Say hello.", *options: str) -> str:
        """The reply; SmokeError when it holds nothing or counts no token."""
        words = ["chat", "-m", "smoke", question, *options, "--max-tokens", "16", "--output", "json"]
        answer = json.loads(self.arwctl(*words))
        text = answer["choices"][0]["message"]["content"]
        if not text.strip() or answer["usage"]["completion_tokens"] < 1:
            raise SmokeError("the reply is empty")
        return str(text)

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.arwctl("runtime", "status", "--json"))
        return found

    def restore(self) -> None:
        """By force; SmokeError when no other engine is ready afterwards, or the matrix does not say so."""
        before = self._engine()
        self.arwctl("runtime", "restore", "smoke", "--restart", "--wait")
        if self._engine() in {0, before}:
            raise SmokeError("the restore brought no other engine")
        ((_, entry),) = self.status()["matrix"]["items"].items()
        if entry["status"]["code"] != "ok" or entry["runtime"]["states"] != {"ready": 1}:
            raise SmokeError(f"the matrix is not ready again: {entry['status']['label']}")

    def _engine(self) -> int:
        """Its pid."""
        return int(self.status()["supervisor"]["runtimes"][0]["status"].get("engine_pid", 0))

    def accelerator_label(self) -> str:
        """What the engine really uses, as the control plane shows it."""
        return str(self.status()["supervisor"]["runtimes"][0]["status"]["accelerator_label"])

    def engine_log_names_a_gpu(self) -> bool:
        return GPU_IN_LOG.search(self.arwctl("runtime", "logs", "smoke", "--tail", "1000")) is not None


def check_matrix(status: Mapping[str, Any]) -> None:
    """Every entry speaks to people and screen readers, and is fresh."""
    matrix = status["matrix"]
    if not matrix["items"] or matrix["ttl_seconds"] <= 0:
        raise SmokeError("the runtime matrix is empty or has no ttl_seconds")
    for target, entry in matrix["items"].items():
        silent = [name for name in SPOKEN if not entry["status"].get(name)]
        if silent:
            raise SmokeError(f"the matrix entry of {target} lacks {', '.join(silent)}")
        if not entry["runtime"].get("updated"):
            raise SmokeError(f"the matrix entry of {target} does not say when it was updated")
