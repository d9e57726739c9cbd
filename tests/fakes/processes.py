"""A real control plane and real node agents, each a process of its own, in one state directory."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from arw.v1 import node_service_pb2, node_service_pb2_grpc
from wire.channel import OPTIONS
from wire.credentials import CONTROL_PLANE_NAME

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 40.0


def environment(**more: str) -> dict[str, str]:
    paths = os.pathsep.join([str(ROOT), str(ROOT / "gen")])
    return {**os.environ, "PYTHONPATH": paths, "ARW_TIMERS": "test", **more}


def until(holds: Callable[[], Any], patience_s: float = PATIENCE_S) -> Any:
    """The first true value; AssertionError when none comes in time."""
    end = time.monotonic() + patience_s
    while time.monotonic() < end:
        found = holds()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"nothing came of {holds} in {patience_s} s")


@dataclass(slots=True)
class ControlPlaneProcess:
    state: Path
    env: dict[str, str] = field(default_factory=environment)
    process: subprocess.Popen[bytes] | None = None

    def initialise(self, *more: str) -> None:
        ports = ["--grpc-port", "0", "--enrollment-port", "0", "--relay-port", "0", "--http-port", "0"]
        said = self._command("init", *ports, *more)
        assert said.returncode == 0, said.stderr

    def start(self) -> None:
        with (self.state / "control-plane.log").open("ab") as log:
            command = [sys.executable, "-m", "control_plane.main", "run", "--state-dir", str(self.state)]
            self.process = subprocess.Popen(command, env=self.env, stdout=log, stderr=log)
        until(self._serves)

    def end(self, number: signal.Signals = signal.SIGKILL) -> None:
        if self.process:
            self.process.send_signal(number)
            self.process.wait(PATIENCE_S)
            self.process = None

    def token(self) -> tuple[str, str]:
        """(enrolment address, token)."""
        with self.nodes() as nodes:
            made = nodes.CreateJoinToken(node_service_pb2.CreateJoinTokenRequest())
        return made.enrollment_address, made.secret_text

    @contextmanager
    def nodes(self) -> Iterator[node_service_pb2_grpc.NodeServiceStub]:
        context = json.loads((self.state / "context.json").read_text())
        root, key, chain = (context[name].encode() for name in ("ca_pem", "key_pem", "certificate_pem"))
        credentials = grpc.ssl_channel_credentials(root, key, chain)
        options = (*OPTIONS, ("grpc.ssl_target_name_override", CONTROL_PLANE_NAME))
        with grpc.secure_channel(context["grpc_address"], credentials, options) as channel:
            yield node_service_pb2_grpc.NodeServiceStub(channel)

    def _serves(self) -> bool:
        assert self.process
        assert self.process.poll() is None, (self.state / "control-plane.log").read_text()
        record = self.state / "control_plane" / "run.json"
        return record.exists() and json.loads(record.read_text())["pid"] == self.process.pid

    def _command(self, name: str, *more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "control_plane.main", name, "--state-dir", str(self.state), *more]
        return subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=60, check=False)


@dataclass(slots=True)
class AgentProcess:
    state: Path
    env: dict[str, str] = field(default_factory=environment)
    process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        return (self.state / "node-agent.log").read_text()

    def start(self) -> None:
        with (self.state / "node-agent.log").open("ab") as log:
            self.process = subprocess.Popen(self._argv("run"), env=self.env, stdout=log, stderr=log)

    def end(self, number: signal.Signals = signal.SIGKILL) -> int:
        assert self.process
        self.process.send_signal(number)
        code = self.process.wait(PATIENCE_S)
        self.process = None
        return code

    def command(self, name: str, *more: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self._argv(name, *more), env=self.env, input=stdin, capture_output=True, text=True, timeout=60, check=False
        )

    def join(self, address: str, token: str, *more: str) -> subprocess.CompletedProcess[str]:
        return self.command("join", "--server", address, *more, stdin=token)

    def status(self) -> Any:
        answer = self.command("status", "--output", "json")
        assert answer.returncode == 0, answer.stderr
        return json.loads(answer.stdout)

    def link(self) -> Any:
        try:
            return json.loads((self.state / "node_agent" / "link.json").read_text())
        except FileNotFoundError:
            return {"state": "none", "session_epoch": 0}

    def until_link(self, state: str, epoch: int = 0) -> Any:
        return until(lambda: self._link_is(state, epoch))

    def _link_is(self, state: str, epoch: int) -> Any:
        link = self.link()
        return link if link["state"] == state and link["session_epoch"] >= epoch else None

    def _argv(self, name: str, *more: str) -> list[str]:
        return [sys.executable, "-m", "node_agent.main", name, "--state-dir", str(self.state), *more]
