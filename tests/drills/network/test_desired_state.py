"""What a bad network and a bad spec do to the desired state of a node."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from arw.v1.instance_pb2 import INSTANCE_STATE_ERROR
from arw.v1.problem_pb2 import REASON_MODEL_FILE_MISSING
from node_agent.disk.database import Database
from node_agent.disk.desired import SqliteDesired
from node_agent.disk.high_water import HighWater
from node_agent.use_cases.ports import DesiredSnapshot
from tests.fakes.processes import until
from tests.fakes.proxied_site import ProxiedSite
from tests.fakes.unruly_proxy import Way

pytestmark = pytest.mark.timeout(90)
MANY = 90
KIB = 1024


def stored(site: ProxiedSite) -> DesiredSnapshot:
    database = Database(site.folder / "node_agent" / "agent.db")
    try:
        high_water = HighWater(site.folder / "node_agent" / "instances" / "desired.json")
        return SqliteDesired(database, high_water).load()
    finally:
        database.close()


def forget(site: ProxiedSite) -> None:
    """The agent's database is lost, so it is sent a snapshot."""
    for file in (site.folder / "node_agent").glob("agent.db*"):
        file.unlink()


def test_f15_a_reset_in_the_middle_of_a_snapshot_keeps_parts_and_no_revision(site: ProxiedSite) -> None:
    """The snapshot has three parts of half a mebibyte; the connection dies in the third."""
    names = [f"r{number:02}" for number in range(MANY)]
    site.agent.start()
    site.agent.until_link("in_sync")
    site.declare(*names, auto_start=False, tags=64)
    until(lambda: len(stored(site).specs) == MANY)
    site.agent.end()
    complete = stored(site)
    forget(site)

    site.proxy.reset_after(1200 * KIB, Way.DOWN)
    site.agent.start()
    until(lambda: site.agent.link()["problem"])
    site.agent.until_link("disconnected")
    part = stored(site)
    assert 0 < len(part.specs) < MANY
    assert part.revision == 0

    site.proxy.heal()
    site.agent.until_link("in_sync")
    whole = stored(site)
    assert whole.revision >= complete.revision
    assert replace(whole, revision=complete.revision) == complete


def refusals(site: ProxiedSite) -> int:
    return site.plane_log.count('"desired_refused"')


def test_f58_one_poisonous_resource_is_told_once_a_generation_and_makes_no_loop(site: ProxiedSite) -> None:
    """A buggy controller declares the same forty-nine good runtimes and a bad one again every second."""
    good = [f"r{number:02}" for number in range(49)]
    site.add_model("gone", Path("/nowhere/gone.gguf"), "ab" * 32, 1000)
    entries = "".join(f'[[runtimes]]\nid = "{name}"\nadapter = "llama.cpp"\nmodel = "tiny"\n' for name in good)
    # An order to stop is taken whatever its model is, so this one is to run.
    entries += '[[runtimes]]\nid = "bad"\nadapter = "llama.cpp"\nmodel = "gone"\nauto_start = true\n'
    site.apply(entries)
    site.agent.start()
    bad = site.until_instance(INSTANCE_STATE_ERROR, "bad")
    site.agent.until_link("in_sync")
    assert bad.problem.reason == REASON_MODEL_FILE_MISSING
    assert {spec.runtime_id for spec in stored(site).specs} == set(good)

    quiet = site.proxy.passed(Way.DOWN) + site.proxy.passed(Way.UP)
    for _ in range(5):
        site.apply(entries)
        time.sleep(1)
    said = site.proxy.passed(Way.DOWN) + site.proxy.passed(Way.UP) - quiet
    # Heartbeats, their answers and the replies to this drill's calls; one whole set would be 20 KiB.
    assert said < 10 * KIB
    assert refusals(site) == 1

    site.apply(entries.replace('id = "bad"\n', 'id = "bad"\nprofile = "silent"\n'))
    until(lambda: refusals(site) == 2)
    time.sleep(2)
    assert refusals(site) == 2
