from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest

from arw.v1 import instance_pb2, runtime_pb2
from arw_client import Context
from arwctl.main import app
from tests.fakes.operator_api import OperatorApi, Pki, pki, serving

TRUST = pki()


@dataclass(frozen=True, slots=True)
class Said:
    code: int
    out: str
    err: str


EVIL = "\x1b]0;owned\x07\u202egpj.exe\r\x9b31m"
Arwctl = Callable[..., Awaitable[Said]]


def context_for(trust: Pki, address: str, http_url: str = "http://127.0.0.1:1") -> Context:
    return Context(
        trust_domain="test",
        grpc_address=address,
        http_url=http_url,
        ca_pem=trust.ca.decode(),
        certificate_pem=trust.operator.decode(),
        key_pem=trust.operator_key.decode(),
        token="id.secret",
    )


def write_context(folder: Path, context: Context) -> Path:
    path = folder / "context.json"
    path.write_text(json.dumps(asdict(context)))
    return path


@pytest.fixture
def api() -> OperatorApi:
    return OperatorApi()


@pytest.fixture
async def context(api: OperatorApi) -> AsyncIterator[Context]:
    async with serving(api, TRUST) as address:
        yield context_for(TRUST, address)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Arwctl:
    """The command line as a person calls it, in a thread beside the API's loop."""
    monkeypatch.delenv("ARW_STATE_DIR", raising=False)
    monkeypatch.setenv("ARW_CONTEXT", "/nowhere/context.json")

    def called(arguments: list[str]) -> int:
        try:
            app(arguments, prog_name="arwctl")
        except SystemExit as end:
            return int(end.code or 0)
        return 0

    async def arwctl(*arguments: str | Path) -> Said:
        code = await asyncio.to_thread(called, [str(each) for each in arguments])
        captured = capsys.readouterr()
        return Said(code, captured.out, captured.err)

    return arwctl


@pytest.fixture
def state(tmp_path: Path, context: Context) -> Path:
    """A state directory whose context file reaches the API."""
    write_context(tmp_path, context)
    return tmp_path


def runtime(
    state: instance_pb2.InstanceState.ValueType = instance_pb2.INSTANCE_STATE_READY, engine: str = ""
) -> runtime_pb2.Runtime:
    instance = instance_pb2.Instance(state=state, state_label="Ready", observed_generation=1, engine=engine)
    return runtime_pb2.Runtime(
        name="runtimes/llama.cpp-preview__cpu",
        id="llama.cpp-preview/cpu",
        generation=1,
        desired_state=runtime_pb2.DESIRED_STATE_RUNNING,
        instance=instance,
    )
