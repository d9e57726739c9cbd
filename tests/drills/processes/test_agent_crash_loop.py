"""An agent that dies as it starts, again and again, while its engine serves."""

from __future__ import annotations

import tarfile

import pytest

from tests.fakes.drilled import Drilled, drilled, kill_hard
from tests.fakes.world import gone

pytestmark = [pytest.mark.engine, pytest.mark.timeout(120)]
DEATHS = 3


def dies(world: Drilled) -> None:
    """Its database is a directory, so it never gets far."""
    child = world.start_agent()
    world.until(lambda: child.poll() is not None, "the agent's death", 20)


def test_f47_an_agent_that_died_three_times_keeps_what_runs_and_acts_again_after_a_quiet_while() -> None:
    with drilled() as world:
        world.begin("one")
        (engine,) = world.engines().values()
        session = world.link()["session_epoch"]
        kill_hard(world.agent_pid)
        files = list(world.agent_state.glob("agent.db*"))
        for file in files:
            file.rename(file.with_name(f"kept-{file.name}"))
        (world.agent_state / "agent.db").mkdir()
        for _ in range(DEATHS):
            dies(world)
        (world.agent_state / "agent.db").rmdir()
        for file in files:
            file.with_name(f"kept-{file.name}").rename(file)

        world.start_agent()
        world.until_in_sync(session)
        assert world.engines() == {"one": engine}
        world.until(lambda: world.node_problems() == ["AGENT_SAFE_MODE"], "the node saying so", 5)
        assert world.ask("one", 5)
        kill_hard(engine.pid)
        world.until(lambda: gone(engine.pid), "the engine's end", 5)
        world.until(lambda: world.states()["one"] == "restarting", "nobody starting it", 5)

        world.until(lambda: world.states()["one"] == "ready", "the agent acting again", 30)
        assert [each.incarnation for each in world.engines().values()] == [engine.incarnation + 1]
        assert not world.node_problems()
        said = world.done("runtime", "logs", "one", "--archive", world.folder / "logs.tar.gz")
        assert "2 launches" in said
        with tarfile.open(world.folder / "logs.tar.gz") as archive:
            assert archive.getnames() == ["one/launch-1.log", "one/launch-2.log"]
            assert all(entry.size for entry in archive)
        world.done("down")
