"""What the holds on an instance mean for its engine, with the real supervisor and shim."""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta

from node_agent.disk.contact import Contact
from node_agent.domain.spec import Hold, InstanceName, InstanceSpec
from node_agent.domain.status import InstanceState
from node_agent.runtimes.process import start_ticks
from tests.fakes.instance_specs import NAME
from tests.fakes.local_node import LocalNode, engine_pid, until_gone, until_ready, until_state

SYSTEM = Hold("system", 1)
ALONE = frozenset({Hold("c1", 2, timedelta(seconds=60))})


class Boot:
    """One boot of the machine; its clock stands still unless told."""

    def __init__(self, node: LocalNode) -> None:
        self.node = node
        self.seconds = 500.0

    def contact(self) -> Contact:
        return Contact(self.node.path / "contact.json", "boot", lambda: self.seconds, lambda: True)

    def spec(self) -> InstanceSpec:
        return self.node.spec(holds=ALONE)


async def test_f12_an_engine_is_stopped_a_minute_after_the_last_contact_though_its_agent_was_restarted_meanwhile(
    node: LocalNode,
) -> None:
    await node.make_engine()
    boot = Boot(node)
    contact = boot.contact()
    contact.heard(boot.seconds)
    async with node.agent(boot.spec(), silence=contact.silence) as supervisor:
        pid = engine_pid(await until_ready(supervisor))
        contact.lost()
    boot.seconds += 40
    contact = boot.contact()
    async with node.agent(boot.spec(), silence=contact.silence) as supervisor:
        contact.on_change(supervisor.look_again)
        await supervisor.adopted()
        assert engine_pid(await until_ready(supervisor)) == pid
        boot.seconds += 20
        supervisor.look_again()
        ended = await until_state(supervisor, InstanceState.OFFLINE)
        assert ended.problem is not None
        assert ended.problem.text.startswith("A claim on it lets it run for 60 s without contact")
        await until_gone(pid)
        contact.heard(boot.seconds)
        again = await until_ready(supervisor)
        assert again.budget is not None
        assert (engine_pid(again) != pid, again.budget.used) == (True, 0)


async def test_a_cut_without_end_leaves_an_engine_that_nobody_limited(node: LocalNode) -> None:
    await node.make_engine()
    boot = Boot(node)
    async with node.agent(node.spec(), silence=boot.contact().silence) as supervisor:
        pid = engine_pid(await until_ready(supervisor))
        boot.seconds += 86_400
        supervisor.look_again()
        assert engine_pid(await until_ready(supervisor)) == pid
    assert start_ticks(pid) is not None


async def test_whoever_takes_it_alone_ends_the_holds_of_all_others_before_that_is_acknowledged(node: LocalNode) -> None:
    await node.make_engine()
    told: list[tuple[InstanceName, Collection[Hold]]] = []
    async with node.agent(node.spec()) as supervisor:
        pid = engine_pid(await until_ready(supervisor))
        supervisor.on_handover(lambda name, left: told.append((name, left)))
        shared = frozenset({SYSTEM, Hold("c0", 2)})
        for holds in (shared, ALONE, ALONE):
            supervisor.desire([node.spec(holds=holds)])
            door = supervisor.door(NAME)
            assert door is not None
            assert door.holds == holds
        assert told == [(NAME, ALONE)], "one more shared hold disturbs nobody"
        supervisor.desire([])
        gone = supervisor.door(NAME)
        assert gone is not None
        assert gone.holds == frozenset()
    assert node.starts == [pid]
