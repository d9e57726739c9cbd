"""The real supervisor, shim and adapter with an engine that misbehaves on request."""

import asyncio
import os
import shutil
import signal
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from arwctl.local.leftovers import left
from node_agent.domain.progress import Traffic
from node_agent.domain.spec import DesiredState, EngineSettings, Hold, InstanceName, RestartPolicy, RestoreOrder
from node_agent.domain.status import InstanceState
from node_agent.runtimes import assembly, ending, launcher
from node_agent.runtimes.engines import candidate
from node_agent.runtimes.process import start_ticks
from node_agent.runtimes.shutdown import stop_everything
from tests.fakes.instance_specs import NAME
from tests.fakes.local_node import (
    TIMERS,
    LocalNode,
    engine_pid,
    shim_pid,
    until,
    until_gone,
    until_ready,
    until_so,
    until_started,
    until_state,
)
from tests.fakes.patience import SLACK

STOPPED = DesiredState.STOPPED


async def test_a_wanted_instance_becomes_ready_and_tells_what_it_uses(node: LocalNode) -> None:
    await node.make_engine(ready_after=0.2)
    async with node.agent(node.spec(settings=EngineSettings(slots=3, context_length=100))) as supervisor:
        status = await until_ready(supervisor)
        assert status.detail == ("3 slots of 100 tokens",)
        assert (status.incarnation, status.accelerator, status.engine) == (1, "cpu", "0 (fake)")
        assert status.ready_time is not None
    states = list(dict.fromkeys(status.state for status in node.history))
    assert states == [InstanceState.PENDING, InstanceState.STARTING, InstanceState.READY]


async def test_the_door_opens_when_ready_and_shows_who_may_pass(node: LocalNode) -> None:
    await node.make_engine(ready_after=0.3)
    async with node.agent(node.spec()) as supervisor:
        await until_state(supervisor, InstanceState.STARTING)
        assert supervisor.door(NAME) is None
        await until_ready(supervisor)
        door = supervisor.door(NAME)
        assert door is not None
        assert door.holds == {Hold("system", 1)}
        assert door.api_key == node.home.key()
        supervisor.desire([node.spec(holds=frozenset())])
        await until_so(lambda: supervisor.door(NAME) == replace(door, holds=frozenset()))
        assert supervisor.door(InstanceName("nodes/n/instances/nobody")) is None


async def test_a_killed_engine_is_started_again(node: LocalNode) -> None:
    await node.make_engine()
    async with node.agent(node.spec()) as supervisor:
        first = await until_ready(supervisor)
        os.kill(engine_pid(first), signal.SIGKILL)
        second = await until(supervisor, lambda one: one.state is InstanceState.READY and one.incarnation == 2)
        assert second.last_exit is not None
        assert second.last_exit.signal == signal.SIGKILL
        assert second.budget is not None
        assert second.budget.used == 1


async def test_after_a_good_run_the_restart_is_immediate(node: LocalNode) -> None:
    await node.make_engine()
    slow = replace(TIMERS, good_run=timedelta(seconds=0.3), backoff_first=timedelta(seconds=60))
    async with node.agent(node.spec(), timers=slow) as supervisor:
        first = await until_ready(supervisor)
        await asyncio.sleep(0.4)
        os.kill(engine_pid(first), signal.SIGKILL)
        await until(supervisor, lambda one: one.state is InstanceState.READY and one.incarnation == 2)


async def test_ten_agents_in_a_row_adopt_the_same_processes(node: LocalNode) -> None:
    await node.make_engine()
    pids = set()
    for _ in range(10):
        async with node.agent(node.spec()) as supervisor:
            status = await until_ready(supervisor)
            pids.add((engine_pid(status), shim_pid(status)))
    assert len(pids) == 1
    assert len(node.starts) == 1


async def test_an_engine_that_ignores_sigterm_is_killed_after_the_grace(node: LocalNode) -> None:
    await node.make_engine(ignore_sigterm=True)
    async with node.agent(node.spec()) as supervisor:
        await until_ready(supervisor)
        began = time.monotonic()
        supervisor.desire([node.spec(desired_state=STOPPED)])
        status = await until_state(supervisor, InstanceState.OFFLINE)
        took = time.monotonic() - began
    assert TIMERS.stop_grace.total_seconds() <= took < TIMERS.stop_grace.total_seconds() + 1 * SLACK
    assert status.last_exit is not None
    assert status.last_exit.signal == signal.SIGKILL
    assert node.home.lock_is_free()


async def test_others_may_close_their_connections_before_the_engine_is_signalled(node: LocalNode) -> None:
    await node.make_engine()
    async with node.agent(node.spec()) as supervisor:
        status = await until_ready(supervisor)
        told = []

        async def hook(name: InstanceName, _port: int) -> None:
            told.append((name, start_ticks(engine_pid(status)) is not None, supervisor.door(name)))

        supervisor.before_stop(hook)
        supervisor.desire([node.spec(desired_state=STOPPED)])
        await until_state(supervisor, InstanceState.OFFLINE)
    assert told == [(NAME, True, None)]


async def test_what_is_removed_answers_what_it_has_in_hand_and_nothing_new(node: LocalNode) -> None:
    await node.make_engine()
    async with node.agent(node.spec()) as supervisor:
        status = await until_ready(supervisor)
        in_hand, told, gone = [Traffic(1, since=0.0)], [], asyncio.Event()

        async def hook(_name: InstanceName, _port: int) -> None:
            told.append(list(in_hand))

        supervisor.ask_for_traffic(lambda *_: in_hand[0] if in_hand else None)
        supervisor.before_stop(hook)
        supervisor.on_gone(lambda _: gone.set())
        supervisor.desire([])
        await until_state(supervisor, InstanceState.STOPPING)
        await asyncio.sleep(0.2)
        assert supervisor.door(NAME) is None
        assert start_ticks(engine_pid(status)) is not None
        in_hand.clear()
        await gone.wait()
    assert told == [[]]


async def test_what_is_removed_is_not_held_up_by_a_request_that_never_ends(node: LocalNode) -> None:
    await node.make_engine()
    async with node.agent(node.spec()) as supervisor:
        await until_ready(supervisor)
        gone = asyncio.Event()
        supervisor.ask_for_traffic(lambda *_: Traffic(1, since=0.0))
        supervisor.on_gone(lambda _: gone.set())
        began = time.monotonic()
        supervisor.desire([])
        await gone.wait()
        took = time.monotonic() - began
    assert TIMERS.stop_grace.total_seconds() <= took < TIMERS.stop_grace.total_seconds() + 2 * SLACK


async def test_an_engine_that_never_gets_ready_is_given_up_at_its_deadline(node: LocalNode) -> None:
    await node.make_engine(never_ready=True)
    hasty = replace(TIMERS, start_base=timedelta(seconds=0.5))
    async with node.agent(node.spec(restart=RestartPolicy(max_restarts=1)), timers=hasty) as supervisor:
        status = await until_state(supervisor, InstanceState.ERROR)
    assert status.problem is not None
    assert status.problem.reason == "RESTART_BUDGET_EXHAUSTED"
    assert status.problem.metadata["cause"] == "START_DEADLINE_EXCEEDED"
    assert status.incarnation == 2


async def test_a_crash_loop_is_four_starts_then_an_error_with_code_and_log(node: LocalNode) -> None:
    await node.make_engine(exit_after=0, exit_code=7, say=["the last words"])
    async with node.agent(node.spec()) as supervisor:
        status = await until_state(supervisor, InstanceState.ERROR)
        await asyncio.sleep(0.5)
    assert len(node.starts) == 4
    assert status.last_exit is not None
    assert (status.last_exit.exit_code, status.last_exit.log_tail) == (7, ("the last words",))
    assert status.problem is not None
    assert "exit code 7" in status.problem.text


async def test_an_end_with_exit_code_0_before_it_was_ready_is_a_failure_like_any_other(node: LocalNode) -> None:
    await node.make_engine(never_ready=True, exit_after=0.1, exit_code=0)
    async with node.agent(node.spec(restart=RestartPolicy(max_restarts=1))) as supervisor:
        status = await until_state(supervisor, InstanceState.ERROR)
    assert len(node.starts) == 2
    assert status.last_exit is not None
    assert status.last_exit.exit_code == 0
    assert status.problem is not None
    assert status.problem.metadata["cause"] == "ENGINE_EXITED_BEFORE_READY"
    assert "exit code 0 before it was ready; that is a failure" in status.problem.text


async def test_the_budget_and_the_error_outlive_the_agent(node: LocalNode) -> None:
    await node.make_engine(exit_after=0, exit_code=7)
    async with node.agent(node.spec()) as supervisor:
        await until_state(supervisor, InstanceState.ERROR)
    async with node.agent(node.spec()) as supervisor:
        status = await until_state(supervisor, InstanceState.ERROR)
        assert status.budget is not None
        assert status.budget.remaining == 0
        supervisor.desire([node.spec(restore=RestoreOrder(1))])
        await asyncio.sleep(0.3)
        assert len(node.starts) == 4
        node.behave()
        supervisor.desire([node.spec(restore=RestoreOrder(2, reset_budget=True))])
        await until_ready(supervisor)
    assert len(node.starts) == 5


async def test_what_fails_the_same_way_every_time_is_not_repeated(node: LocalNode) -> None:
    await node.make_engine(exit_after=0, exit_code=1, say=["unknown model architecture: 'newthing'"])
    async with node.agent(node.spec()) as supervisor:
        status = await until_state(supervisor, InstanceState.ERROR)
    assert status.problem is not None
    assert status.problem.reason == "MODEL_FILE_INVALID"
    assert len(node.starts) == 1


async def test_a_taken_port_is_answered_with_another_port(node: LocalNode) -> None:
    await node.make_engine(exit_after=0, exit_code=1, say=["E couldn't bind HTTP server socket, hostname: 127.0.0.1"])
    async with node.agent(node.spec()) as supervisor:
        await until_started(node, 2)
        node.behave()
        status = await until_ready(supervisor)
    assert status.budget is not None
    assert status.budget.used == 0


async def test_an_engine_that_hangs_is_started_again(node: LocalNode) -> None:
    await node.make_engine(hang_after=1.0)
    async with node.agent(node.spec()) as supervisor:
        first = await until_ready(supervisor)
        degraded = await until_state(supervisor, InstanceState.DEGRADED)
        assert degraded.problem is not None
        assert degraded.problem.reason == "PROBES_FAILED"
        await until(supervisor, lambda one: one.state is InstanceState.READY and one.incarnation == 2)
        assert start_ticks(engine_pid(first)) is None


async def test_a_stopped_process_counts_as_hanging(node: LocalNode) -> None:
    await node.make_engine()
    async with node.agent(node.spec()) as supervisor:
        first = await until_ready(supervisor)
        os.kill(engine_pid(first), signal.SIGSTOP)
        await until(supervisor, lambda one: one.state is InstanceState.READY and one.incarnation == 2)


async def test_a_probe_that_succeeds_again_ends_the_degradation(node: LocalNode) -> None:
    await node.make_engine()
    patient = replace(TIMERS, probe_misses=50)
    async with node.agent(node.spec(), timers=patient) as supervisor:
        status = await until_ready(supervisor)
        os.kill(engine_pid(status), signal.SIGSTOP)
        await until_state(supervisor, InstanceState.DEGRADED)
        os.kill(engine_pid(status), signal.SIGCONT)
        again = await until_ready(supervisor)
    assert again.incarnation == 1
    assert again.problem is None


async def test_a_stranger_on_the_port_is_not_taken_for_the_engine(node: LocalNode) -> None:
    await node.make_engine(alias="somebody/else")
    async with node.agent(node.spec(restart=RestartPolicy(max_restarts=0))) as supervisor:
        status = await until_state(supervisor, InstanceState.ERROR)
    assert status.problem is not None
    assert status.problem.metadata["cause"] == "ENGINE_IDENTITY_MISMATCH"


async def test_a_tree_that_double_forks_leaves_nothing_behind(node: LocalNode) -> None:
    await node.make_engine(escape=True)
    async with node.agent(node.spec()) as supervisor:
        await until_ready(supervisor)
        escaped = int(node.behaviour.with_suffix(".escaped").read_text())
        assert start_ticks(escaped) is not None
        supervisor.desire([node.spec(desired_state=STOPPED)])
        await until_state(supervisor, InstanceState.OFFLINE)
    assert start_ticks(escaped) is None


async def test_leftovers_of_a_crashed_engine_are_gone_before_the_next_start(node: LocalNode) -> None:
    await node.make_engine(escape=True)
    async with node.agent(node.spec()) as supervisor:
        first = await until_ready(supervisor)
        escaped = int(node.behaviour.with_suffix(".escaped").read_text())
        os.kill(engine_pid(first), signal.SIGKILL)
        await until(supervisor, lambda one: one.state is InstanceState.READY and one.incarnation == 2)
        assert start_ticks(escaped) is None


async def test_an_engine_whose_shim_was_killed_is_adopted_and_still_stoppable(node: LocalNode) -> None:
    await node.make_engine(escape=True)
    async with node.agent(node.spec()) as supervisor:
        first = await until_ready(supervisor)
    os.kill(shim_pid(first), signal.SIGKILL)
    await until_gone(shim_pid(first))
    async with node.agent(node.spec()) as supervisor:
        second = await until_ready(supervisor)
        assert (engine_pid(second), shim_pid(second)) == (engine_pid(first), 0)
        supervisor.desire([node.spec(desired_state=STOPPED)])
        await until_state(supervisor, InstanceState.OFFLINE)
    assert start_ticks(engine_pid(first)) is None
    assert node.home.lock_is_free()
    assert start_ticks(int(node.behaviour.with_suffix(".escaped").read_text())) is None


async def test_an_engine_that_died_without_agent_and_shim_is_known_to_be_dead(node: LocalNode) -> None:
    await node.make_engine()
    async with node.agent(node.spec()) as supervisor:
        first = await until_ready(supervisor)
    os.kill(shim_pid(first), signal.SIGKILL)
    os.kill(engine_pid(first), signal.SIGKILL)
    await until_gone(engine_pid(first))
    async with node.agent(node.spec()) as supervisor:
        second = await until_ready(supervisor)
    assert second.incarnation == 2
    assert second.last_exit is not None
    assert (second.last_exit.exit_code, second.last_exit.signal) == (None, None)


async def test_an_end_while_no_agent_looked_costs_budget_like_any_other(node: LocalNode) -> None:
    await node.make_engine()
    async with node.agent(node.spec()) as supervisor:
        first = await until_ready(supervisor)
    os.kill(engine_pid(first), signal.SIGKILL)
    await until_gone(shim_pid(first))
    async with node.agent(node.spec()) as supervisor:
        second = await until_ready(supervisor)
    assert second.last_exit is not None
    assert second.last_exit.signal == signal.SIGKILL
    assert second.budget is not None
    assert second.budget.used == 1


async def test_the_pid_of_another_process_is_never_touched(node: LocalNode) -> None:
    await node.make_engine()
    async with node.agent(node.spec()) as supervisor:
        first = await until_ready(supervisor)
    os.kill(engine_pid(first), signal.SIGKILL)
    await until_gone(shim_pid(first))
    stranger = await asyncio.create_subprocess_exec("sleep", "60")
    run = (node.home.path / "run.json").read_text()
    text = run.replace(str(engine_pid(first)), str(stranger.pid))
    (node.home.path / "run.json").write_text(text)
    (node.home.path / "exit.json").unlink()
    async with node.agent(node.spec()) as supervisor:
        second = await until_ready(supervisor)
        assert engine_pid(second) != stranger.pid
        assert stranger.returncode is None
        supervisor.desire([])
        await until_gone(engine_pid(second))
    assert start_ticks(stranger.pid) is not None
    stranger.kill()
    await stranger.wait()


async def test_after_a_reboot_nothing_old_counts(node: LocalNode) -> None:
    await node.make_engine()
    async with node.agent(node.spec()) as supervisor:
        first = await until_ready(supervisor)
    await stop_everything(node.path / "instances", timedelta(seconds=1))
    run = node.home.path / "run.json"
    run.write_text(run.read_text().replace(first.process.boot_id if first.process else "", "an-earlier-boot"))
    async with node.agent(node.spec()) as supervisor:
        second = await until_ready(supervisor)
    assert second.budget is not None
    assert (second.incarnation, second.budget.used) == (2, 0)


async def test_a_second_copy_is_never_started_while_the_first_holds_its_lock(node: LocalNode) -> None:
    await node.make_engine(ignore_sigterm=True)
    async with node.agent(node.spec()) as supervisor:
        first = await until_ready(supervisor)
    os.kill(shim_pid(first), signal.SIGKILL)
    (node.home.path / "run.json").unlink()
    async with node.agent(node.spec()) as supervisor:
        await until_ready(supervisor)
    assert start_ticks(engine_pid(first)) is None
    assert len(node.starts) == 2


async def test_no_secret_is_in_arguments_or_environment(node: LocalNode) -> None:
    await node.make_engine()
    async with node.agent(node.spec()) as supervisor:
        status = await until_ready(supervisor)
        secret = node.home.key().encode()
        assert len(secret) > 30
        for pid in (engine_pid(status), shim_pid(status)):
            assert not [name for name in ("cmdline", "environ") if secret in read(f"/proc/{pid}/{name}")]
        assert files_with(secret, node.path) == [node.home.key_file]


def read(path: str) -> bytes:
    return Path(path).read_bytes()


def files_with(secret: bytes, folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and secret in path.read_bytes()]


async def test_an_instance_that_was_removed_while_no_agent_looked_is_stopped(node: LocalNode) -> None:
    await node.make_engine()
    async with node.agent(node.spec()) as supervisor:
        status = await until_ready(supervisor)
    async with node.agent():
        await until_gone(engine_pid(status))
        await until_gone(shim_pid(status))


async def test_a_shim_that_hangs_does_not_keep_the_lock(node: LocalNode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ending, "SHIM_PATIENCE", timedelta(seconds=0.3))
    await node.make_engine()
    async with node.agent(node.spec()) as supervisor:
        first = await until_ready(supervisor)
        os.kill(shim_pid(first), signal.SIGSTOP)
        os.kill(engine_pid(first), signal.SIGKILL)
        await until(supervisor, lambda one: one.state is InstanceState.READY and one.incarnation == 2)
        assert start_ticks(shim_pid(first)) is None


async def test_a_removed_instance_is_stopped_and_its_directory_goes(node: LocalNode) -> None:
    await node.make_engine()
    async with node.agent(node.spec()) as supervisor:
        status = await until_ready(supervisor)
        gone: asyncio.Queue[InstanceName] = asyncio.Queue()
        supervisor.on_gone(gone.put_nowait)
        supervisor.desire([])
        assert await asyncio.wait_for(gone.get(), 10) == NAME
        assert supervisor.statuses() == []
    assert start_ticks(engine_pid(status)) is None
    assert not node.home.path.exists()


async def test_a_changed_setting_replaces_the_engine_without_cost(node: LocalNode) -> None:
    await node.make_engine()
    async with node.agent(node.spec()) as supervisor:
        await until_ready(supervisor)
        supervisor.desire([node.spec(settings=EngineSettings(slots=5), generation=2)])
        status = await until(supervisor, lambda one: one.state is InstanceState.READY and one.incarnation == 2)
    assert status.budget is not None
    assert (status.observed_generation, status.budget.used) == (2, 0)


async def test_a_stop_interrupts_a_start(node: LocalNode) -> None:
    await node.make_engine(never_ready=True)
    async with node.agent(node.spec()) as supervisor:
        status = await until(supervisor, lambda one: one.process is not None)
        supervisor.desire([node.spec(desired_state=STOPPED)])
        await until_state(supervisor, InstanceState.OFFLINE)
        assert start_ticks(engine_pid(status)) is None


async def test_a_stop_before_the_shim_has_spoken_leaves_nothing_behind(
    node: LocalNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = tmp_path / "slow_shim.py"
    slow.write_text("import time\n\ntime.sleep(60)\n")
    monkeypatch.setattr(launcher, "SHIM", slow)
    await node.make_engine()
    async with node.agent(node.spec()) as supervisor:
        async with asyncio.timeout(10 * SLACK):
            while node.home.launch() is None:  # noqa: ASYNC110 - nothing tells of a shim that says nothing
                await asyncio.sleep(0.01)
        assert left(node.path)
        supervisor.desire([node.spec(desired_state=STOPPED)])
        await until_state(supervisor, InstanceState.OFFLINE)
        assert left(node.path) == {}


async def test_what_was_told_to_end_and_did_while_no_agent_looked_costs_no_budget(node: LocalNode) -> None:
    await node.make_engine(ignore_sigterm=True)
    patient = replace(TIMERS, stop_grace=timedelta(seconds=60))
    restart = node.spec(restore=RestoreOrder(1, restart=True))
    async with node.agent(node.spec(), timers=patient) as supervisor:
        first = await until_ready(supervisor)
        supervisor.desire([restart])
        await until_state(supervisor, InstanceState.STOPPING)
    os.kill(engine_pid(first), signal.SIGKILL)
    await until_gone(shim_pid(first))
    async with node.agent(restart) as supervisor:
        second = await until_ready(supervisor)
    assert (second.incarnation, second.budget and second.budget.used) == (2, 0)


async def test_a_restart_by_an_operator_happens_once(node: LocalNode) -> None:
    await node.make_engine()
    ordered = node.spec(restore=RestoreOrder(1, restart=True))
    async with node.agent(node.spec()) as supervisor:
        await until_ready(supervisor)
        supervisor.desire([ordered])
        await until(supervisor, lambda one: one.state is InstanceState.READY and one.incarnation == 2)
        supervisor.desire([ordered])
        await asyncio.sleep(0.2)
    async with node.agent(ordered) as supervisor:
        status = await until_ready(supervisor)
    assert status.incarnation == 2


async def test_a_model_that_is_missing_blocks_and_its_return_helps(node: LocalNode, tmp_path: Path) -> None:
    await node.make_engine()
    away = tmp_path / "moved.gguf"
    wanted = node.spec(model=replace(node.model, path=str(away)))
    async with node.agent(wanted) as supervisor:
        status = await until_state(supervisor, InstanceState.ERROR)
        assert status.problem is not None
        assert status.problem.reason == "MODEL_FILE_MISSING"
        shutil.copy(node.model.path, away)
        ready = await until_ready(supervisor)
        assert ready.budget is not None
        assert ready.budget.used == 0


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"adapter": "nothing"}, "ADAPTER_UNKNOWN"),
        ({"path": "relative.gguf"}, "SPEC_INVALID"),
        ({"path": "/nowhere/model.gguf"}, "MODEL_FILE_MISSING"),
        ({"size_bytes": 5}, "MODEL_DIGEST_MISMATCH"),
    ],
)
async def test_a_spec_that_cannot_work_is_not_admitted(node: LocalNode, change: dict[str, object], reason: str) -> None:
    await node.make_engine()
    one = node.spec()
    if "adapter" in change:
        one = replace(one, adapter=str(change["adapter"]))
    else:
        one = replace(one, model=replace(one.model, **change))  # type: ignore[arg-type]
    async with node.agent() as supervisor:
        problem = await supervisor.admit(one)
        assert problem is not None
        assert (problem.reason, bool(problem.remedy)) == (reason, True)
        assert await supervisor.admit(node.spec()) is None


async def test_a_wrong_digest_stops_the_launch(node: LocalNode) -> None:
    await node.make_engine()
    async with node.agent(node.spec(model=replace(node.model, sha256="00" * 32))) as supervisor:
        status = await until_state(supervisor, InstanceState.ERROR)
    assert status.problem is not None
    assert status.problem.reason == "MODEL_DIGEST_MISMATCH"
    assert node.starts == []


async def test_an_engine_that_changed_since_it_was_trusted_is_not_started(node: LocalNode) -> None:
    await node.make_engine()
    node.binary.write_text(node.binary.read_text() + "# changed\n")
    async with node.agent(node.spec()) as supervisor:
        status = await until_state(supervisor, InstanceState.ERROR)
        assert status.problem is not None
        assert status.problem.reason == "ENGINE_NOT_TRUSTED"
        assert f"arw-node-agent trust llama.cpp {node.binary}" in status.problem.remedy
        await node.trust(node.binary)
        await until_ready(supervisor)


async def test_an_engine_file_that_cannot_be_executed_is_said(node: LocalNode) -> None:
    await node.make_engine()
    async with node.agent(node.spec()) as supervisor:
        await until_ready(supervisor)
        node.binary.write_text("#!/no/such/interpreter\n")
        await node_trust_as_is(node)
        supervisor.desire([node.spec(settings=EngineSettings(slots=4))])
        status = await until_state(supervisor, InstanceState.ERROR)
    assert status.problem is not None
    assert status.problem.reason in ("ENGINE_NOT_FOUND", "SPAWN_FAILED")


async def node_trust_as_is(node: LocalNode) -> None:
    """Trust the file without asking it for its version."""
    assembly.trust_list(node.path, node.digests).add(candidate(node.binary), "unknown")


async def test_everything_stops_without_an_agent(node: LocalNode) -> None:
    await node.make_engine(ignore_sigterm=True)
    async with node.agent(node.spec()) as supervisor:
        status = await until_ready(supervisor)
    stopped = await stop_everything(node.path / "instances", timedelta(seconds=0.2))
    assert [(one.name, one.engine_pid) for one in stopped] == [(NAME, engine_pid(status))]
    assert start_ticks(engine_pid(status)) is None
    assert await stop_everything(node.path / "instances", timedelta(seconds=0.2)) == []
    async with node.agent(node.spec()) as supervisor:
        again = await until_ready(supervisor)
    assert again.budget is not None
    assert again.budget.used == 0


async def test_two_instances_do_not_wait_for_each_other(node: LocalNode) -> None:
    await node.make_engine()
    other = node.spec(name=InstanceName("nodes/n/instances/other"), runtime_id="other")
    broken = replace(node.spec(), model=replace(node.model, path="/nowhere/model.gguf"))
    async with node.agent(broken, other) as supervisor:
        status = await until_ready(supervisor)
        assert status.name == other.name
        await until_state(supervisor, InstanceState.ERROR)


async def test_an_order_to_stop_is_taken_though_its_model_is_gone(node: LocalNode, tmp_path: Path) -> None:
    await node.make_engine()
    model = tmp_path / "mine.gguf"
    shutil.copy(node.model.path, model)
    spec = node.spec(model=replace(node.model, path=str(model)))
    async with node.agent(spec) as supervisor:
        await until_ready(supervisor)
        model.unlink()
        stopped = replace(spec, desired_state=DesiredState.STOPPED)
        assert await supervisor.admit(spec) is not None
        assert await supervisor.admit(stopped) is None
        supervisor.desire([stopped])
        await until_state(supervisor, InstanceState.OFFLINE)
