"""`arwctl claim exec` as a process of its own: signals and exit codes are the kernel's."""

from __future__ import annotations

import asyncio
import os
import pty
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from arw.v1 import claim_pb2
from arw_client import Context
from tests.fakes.operator_api import OperatorApi
from tests.unit.arwctl.conftest import TRUST, context_for, write_context
from tests.unit.arwctl.test_claims import HELD, claim, queued

ARWCTL = Path(sys.executable).with_name("arwctl")
TOLD = "printenv OPENAI_BASE_URL OPENAI_API_KEY ARW_CLAIM SSL_CERT_FILE"
PRESSED = """
import signal, sys, threading
first = threading.Event()
signal.signal(signal.SIGINT, lambda *_: (print("pressed", flush=True), first.set()))
print("begun", flush=True)
first.wait()
signal.sigtimedwait([signal.SIGUSR2], 0.3)
sys.exit(4)
"""


class Executed:
    """One run of it against the API."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.said = b""

    async def begin(
        self, *words: str, verb: str = "exec", by: Sequence[str] = (), **streams: int
    ) -> asyncio.subprocess.Process:
        """`by`: a program that runs it, and how."""
        kinds: dict[str, int] = {"stdout": asyncio.subprocess.PIPE, "stderr": asyncio.subprocess.STDOUT, **streams}
        environment = {**os.environ, "ARW_CONTEXT": str(self._folder / "context.json")}
        environment.pop("SSL_CERT_FILE", None)
        command = (*by, str(ARWCTL), "claim", verb, "--model", "tiny-chat", *words)
        return await asyncio.create_subprocess_exec(*command, env=environment, **kinds)  # type: ignore[arg-type]

    async def done(self, *words: str) -> tuple[int, str]:
        process = await self.begin(*words)
        said, _ = await process.communicate()
        assert process.returncode is not None
        return process.returncode, said.decode()


@pytest.fixture
def executed(state: Path) -> Executed:
    return Executed(state)


@pytest.fixture
def granting(api: OperatorApi) -> OperatorApi:
    api.claims.course.append(claim("GRANTED", hold=HELD))
    return api


def asked(api: OperatorApi) -> list[str]:
    return [type(call).__name__.removesuffix("Request") for call in api.calls]


async def heard(process: asyncio.subprocess.Process, text: str) -> None:
    """Until its output has a line with this."""
    assert process.stdout is not None
    async with asyncio.timeout(60):
        while text not in (line := (await process.stdout.readline()).decode()):
            assert line, "it ended"


async def test_the_command_has_a_key_of_its_project_that_ends_with_it_and_its_exit_code_is_told(
    executed: Executed, api: OperatorApi
) -> None:
    api.claims.course.append(claim("GRANTED", hold=HELD, project="projects/team-a"))
    code, said = await executed.done("--project", "team-a", "--", "sh", "-c", f"{TOLD}; exit 7")
    assert code == 7
    assert said.splitlines()[1:] == ["http://127.0.0.1:1/v1", "k1.secret~c1", "c1", "c1: Released"]
    made = next(call for call in api.calls if type(call).__name__ == "CreateProjectKeyRequest")
    assert (made.parent, made.label) == ("projects/team-a", "claim c1")
    assert asked(api)[-2:] == ["RevokeProjectKey", "ReleaseClaim"]


async def test_beyond_loopback_the_command_is_told_whom_to_trust(
    executed: Executed, granting: OperatorApi, state: Path, context: Context
) -> None:
    write_context(state, context_for(TRUST, context.grpc_address, "https://box-1:8091"))
    code, said = await executed.done("--", "sh", "-c", f'{TOLD} && tail -n 1 "$SSL_CERT_FILE"')
    assert code == 0
    assert said.splitlines()[1:4] == ["https://box-1:8091/v1", "id.secret~c1", "c1"]
    assert "-----END CERTIFICATE-----" in said
    bundle = said.splitlines()[4]
    assert bundle.endswith(".pem")
    assert not os.access(bundle, os.F_OK), "it goes with the command"
    assert granting.calls


async def test_signals_go_to_the_command_which_may_take_them_its_own_way(
    executed: Executed, granting: OperatorApi
) -> None:
    script = "trap 'echo not yet' USR1; trap 'exit 3' INT; echo begun; while :; do sleep 0.1; done"
    process = await executed.begin("--", "sh", "-c", script)
    await heard(process, "begun")
    process.send_signal(signal.SIGUSR1)
    await heard(process, "not yet")
    process.send_signal(signal.SIGINT)
    await process.communicate()
    assert process.returncode == 3
    assert asked(granting)[-1] == "ReleaseClaim"


async def test_a_key_that_is_pressed_reaches_the_command_once(executed: Executed, granting: OperatorApi) -> None:
    leader, follower = pty.openpty()
    at_terminal = (sys.executable, "-c", "import os, sys; os.login_tty(0); os.execv(sys.argv[1], sys.argv[1:])")
    process = await executed.begin(
        *("--", sys.executable, "-c", PRESSED), by=at_terminal, stdin=follower, stdout=follower, stderr=follower
    )
    os.close(follower)
    said = b""
    with suppress(OSError):  # the terminal ends with its last process
        while piece := await asyncio.to_thread(os.read, leader, 4096):
            said += piece
            if b"begun" in piece:
                os.write(leader, b"\x03")
    os.close(leader)
    assert await process.wait() == 4, "what it does of itself a moment after the key"
    assert said.count(b"pressed") == 1
    assert asked(granting)[-1] == "ReleaseClaim"


async def test_who_is_stopped_in_the_line_leaves_it_and_runs_nothing(executed: Executed, api: OperatorApi) -> None:
    api.claims.course.append(queued())
    process = await executed.begin("--", "echo", "ran")
    await heard(process, "Queued")
    process.send_signal(signal.SIGTERM)
    said, _ = await process.communicate()
    assert process.returncode == 128 + signal.SIGTERM
    assert b"ran" not in said
    assert asked(api) == ["AcquireClaim", "ReleaseClaim"]


async def test_who_interrupts_the_waiting_alone_gives_the_claim_up_too(executed: Executed, api: OperatorApi) -> None:
    api.claims.course.append(queued())
    process = await executed.begin(verb="acquire")
    await heard(process, "Queued")
    process.send_signal(signal.SIGINT)
    said, _ = await process.communicate()
    assert (process.returncode, said.decode().splitlines()) == (130, ["c1: Released"])
    assert asked(api) == ["AcquireClaim", "ReleaseClaim"]


async def test_a_lost_claim_is_told_and_ends_the_command_if_that_was_asked(
    executed: Executed, granting: OperatorApi
) -> None:
    process = await executed.begin("--end-when-lost", "--", "sh", "-c", "echo begun; exec sleep 600")
    await heard(process, "begun")
    moved = claim_pb2.ClaimHold(runtime="runtimes/other", fence=8)
    await granting.claims.turn("GRANTED", hold=moved, alternative=1)
    await heard(process, "c1: Granted, other on box-1, fence 8, fallback 1")
    await granting.claims.turn("REVOKED", problem={"text": "The machine is needed."})
    await heard(process, "c1: Revoked, fallback 1: The machine is needed.")
    await process.communicate()
    assert process.returncode == 128 + signal.SIGTERM
    assert "ReleaseClaim" not in asked(granting), "it is over already"


async def test_what_cannot_be_run_claims_nothing(executed: Executed, api: OperatorApi) -> None:
    code, said = await executed.done("--", "no-such-program")
    assert (code, said.splitlines()[0]) == (127, "error: no-such-program cannot be run: there is no such program.")
    assert api.calls == []
