"""An agent in safe mode, with real processes: it takes over and watches, and does no more."""

import os
import signal

from node_agent.domain.spec import DesiredState
from node_agent.domain.status import InstanceState
from tests.fakes.local_node import LocalNode, engine_pid, until, until_ready, until_state


async def test_in_safe_mode_what_runs_is_kept_and_nothing_is_started_or_stopped(node: LocalNode) -> None:
    await node.make_engine()
    async with node.agent(node.spec()) as supervisor:
        first = await until_ready(supervisor)
    held = True
    async with node.agent(node.spec(), hands_off=lambda: held) as supervisor:
        adopted = await until_ready(supervisor)
        assert engine_pid(adopted) == engine_pid(first)
        supervisor.desire([node.spec(desired_state=DesiredState.STOPPED)])
        os.kill(engine_pid(first), signal.SIGSTOP)
        hanging = await until(supervisor, lambda one: one.health is not None and one.health.consecutive_misses > 4)
        assert hanging.incarnation == 1
        os.kill(engine_pid(first), signal.SIGCONT)
        await until_ready(supervisor)
        os.kill(engine_pid(first), signal.SIGKILL)
        supervisor.desire([node.spec()])
        await until_state(supervisor, InstanceState.RESTARTING)
        supervisor.look_again()
        assert len(node.starts) == 1
        held = False
        supervisor.look_again()
        second = await until_ready(supervisor)
    assert second.incarnation == 2
