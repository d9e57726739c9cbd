from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from arw.v1 import instance_pb2, job_pb2, problem_pb2
from arwctl.exit_codes import ExitCode
from tests.fakes.operator_api import OperatorApi
from tests.unit.arwctl.conftest import EVIL, Arwctl

CHAT = "runtimes/llama.cpp-preview__cpu"
SWAP = ("runtime", "swap-model", "llama.cpp-preview/cpu", "other")


def job(state: str = "SUCCEEDED", **more: Any) -> job_pb2.Job:
    said: dict[str, Any] = {
        "name": "jobs/j1",
        "id": "j1",
        "kind": "runtime.ensure_ready",
        "order": job_pb2.JobOrder(runtime=CHAT),
        "state": job_pb2.JobState.Value(f"JOB_STATE_{state}"),
        "state_label": state.capitalize(),
        "summary": "Ready",
        **more,
    }
    return job_pb2.Job(**said)


@pytest.fixture
def context(state: Path) -> tuple[str, Path]:
    return "--context", state / "context.json"


async def test_a_runtime_is_made_ready_and_each_step_is_told(
    run: Arwctl, context: tuple[str, Path], api: OperatorApi
) -> None:
    api.jobs += [job("RUNNING", summary="Starting", progress_percent=50), job(progress_percent=100)]
    said = await run(
        "runtime", "ensure-ready", "llama.cpp-preview/cpu", "--time-limit", "90s", "--job", "mine", *context
    )
    assert said.code == 0
    assert said.err.splitlines() == ["j1: Running, 50 % - Starting", "j1: Succeeded, 100 % - Ready"]
    assert "State:              Succeeded, 100 %" in said.out.splitlines()
    order = api.calls[0].order
    assert (api.calls[0].job_id, order.runtime, order.time_limit.seconds) == ("mine", CHAT, 90)
    assert order.WhichOneof("task") == "ensure_ready"


async def test_a_job_that_failed_is_told_with_what_to_do_and_what_was_rolled_back(
    run: Arwctl, context: tuple[str, Path], api: OperatorApi
) -> None:
    problem = problem_pb2.Problem(
        reason=problem_pb2.REASON_NOT_READY, text=f"It did not{EVIL}.", remedy="Read its log."
    )
    api.jobs.append(job("FAILED", problem=problem, summary="It did not. tiny serves again."))
    said = await run(*SWAP, *context)
    assert said.code == ExitCode.FAILED
    assert said.err.splitlines()[0].startswith("error: Job j1 failed: It did not")
    assert "\x1b" not in said.err
    assert said.err.splitlines()[1:] == ["  | It did not. tiny serves again.", "next:  Read its log."]


async def test_a_swap_names_the_model_and_the_settings_that_change(
    run: Arwctl, context: tuple[str, Path], api: OperatorApi
) -> None:
    api.jobs.append(job())
    words = ("slots=4", "warm_up=true", "pooling=mean")
    assert (await run(*SWAP, *(word for each in words for word in ("--set", each)), *context)).code == 0
    task = api.calls[0].order.swap_model
    assert (task.model, task.settings.slots, task.settings.warm_up, task.settings.pooling) == (
        "models/other",
        4,
        True,
        "mean",
    )
    assert not task.settings.HasField("threads")
    assert (await run(*SWAP, "--no-wait", *context)).code == 0
    assert not api.calls[-1].order.swap_model.HasField("settings")


@pytest.mark.parametrize("text", ["slots", "slots=", "slots=four", "slots=true", "slots=-1", "warm_up=1", "colour=red"])
async def test_a_setting_that_is_none_is_wrong_usage(run: Arwctl, context: tuple[str, Path], text: str) -> None:
    said = await run(*SWAP, "--set", text, *context)
    assert said.code == ExitCode.USAGE
    assert "slots=4" in said.err


@pytest.mark.parametrize(
    ("stands", "code"),
    [(instance_pb2.INSTANCE_STATE_READY, 0), (instance_pb2.INSTANCE_STATE_DEGRADED, 0), (9, ExitCode.FAILED)],
)
async def test_a_probe_shows_what_was_found_and_ends_with_whether_it_serves(
    run: Arwctl, context: tuple[str, Path], api: OperatorApi, stands: int, code: int
) -> None:
    found = job_pb2.HealthProbeResult(state=stands, state_label="Ready", severity_label="Info", node="nodes/n1")  # type: ignore[arg-type]
    found.latency.FromMilliseconds(12)
    api.jobs.append(job(health_probe=found))
    said = await run("runtime", "probe", "llama.cpp-preview/cpu", *context)
    assert said.code == code
    assert "Probe latency:      12.0 ms" in said.out.splitlines()
    assert "Asked for this:     no, as its node told it last" in said.out.splitlines()


async def test_jobs_are_listed_shown_and_followed(run: Arwctl, context: tuple[str, Path], api: OperatorApi) -> None:
    api.jobs += [
        job("RUNNING"),
        job(swap_model=job_pb2.SwapModelResult(previous_model="models/tiny", rolled_back=False)),
    ]
    listed = await run("jobs", "list", *context)
    assert [line.split()[0] for line in listed.out.splitlines()] == ["JOB", "j1", "j1"]
    unfinished = await run("jobs", "list", "--unfinished", "--output", "json", *context)
    assert [each["state"] for each in json.loads(unfinished.out)] == ["running"]
    watched = await run("jobs", "watch", "j1", *context)
    assert (watched.code, watched.out.splitlines()[-1]) == (0, "Rolled back:        no")
    assert "Runtime:            llama.cpp-preview/cpu" in (await run("jobs", "show", "j1", *context)).out


async def test_a_cancel_says_whether_there_was_anything_to_cancel(
    run: Arwctl, context: tuple[str, Path], api: OperatorApi
) -> None:
    api.jobs.append(job("RUNNING"))
    assert (await run("jobs", "cancel", "j1", *context)).out == "j1: cancel accepted\n"
    api.jobs[0] = job()
    assert (await run("jobs", "cancel", "j1", *context)).out == "j1: is over already, succeeded\n"
    assert api.calls[-1].name == "jobs/j1"
