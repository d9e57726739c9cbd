from __future__ import annotations

import pytest

from control_plane.domain.ids import NodeId, ProjectId, RuntimeId
from control_plane.domain.instance import Instance, InstanceState
from control_plane.domain.pin import Combination, Pin
from control_plane.domain.project import Project
from gateway.refusals import NotServing, PinNotServing
from tests.fakes.clock import NOON
from tests.fakes.fleet import FakeFleet
from tests.unit.gateway.test_routes import Bench, declared, fleet

TEAM = ProjectId("team")
ON_OTHER = Combination(node=NodeId("other"))


async def pinned(known: FakeFleet, *pins: Pin) -> Bench:
    """Two runtimes of the model "tiny": `one` on box, `two` on other."""
    known.connect("other")
    bench = Bench(known)
    await bench.has(declared("one"), declared("two", "other"))
    bench.projects[TEAM] = Project(TEAM, "u", "e", NOON, NOON, pins=pins)
    return bench


def two(state: InstanceState) -> Instance:
    return Instance(NodeId("other"), RuntimeId("two"), state)


def asked(bench: Bench, project: str = TEAM, name: str = "tiny") -> set[str]:
    """Of requests that are answered before the next."""
    found = set[str]()
    for _ in range(4):
        route = bench.table.resolve(name, project=project)
        found.add(route.model_alias)
        bench.table.left(route)
    return found


async def test_a_project_is_held_to_what_it_is_pinned_to_and_others_are_not() -> None:
    known = fleet("one")
    known.record(two(InstanceState.READY))
    bench = await pinned(known, Pin("tiny", ON_OTHER))
    assert asked(bench) == {"two"}
    assert asked(bench, "") == asked(bench, "another") == {"one", "two"}
    assert asked(bench, name="one") == {"one"}


async def test_a_pin_that_nothing_serves_is_refused_with_its_name_and_what_keeps_the_rest() -> None:
    known = fleet("one")
    known.record(two(InstanceState.STARTING))
    bench = await pinned(known, Pin("tiny", ON_OTHER))
    with pytest.raises(PinNotServing, match="Project team pins 'tiny' to node other.*two is starting") as raised:
        asked(bench)
    assert raised.value.remedy.endswith("arwctl project unpin team tiny")
    assert (raised.value.status, raised.value.code, raised.value.retry_after) == (503, "pin_not_serving", 2)
    assert raised.value.metadata == {"project": "team", "pin": "tiny"}


async def test_a_pin_to_what_nobody_declared_is_refused_and_not_ignored() -> None:
    bench = await pinned(fleet("one"), Pin("tiny", Combination(runtime=RuntimeId("gone"))))
    with pytest.raises(PinNotServing, match="runtime gone, and no runtime with that serves") as raised:
        asked(bench)
    assert raised.value.retry_after == 10


async def test_with_a_fallback_others_serve_only_while_none_that_fits_does() -> None:
    known = fleet("one")
    known.record(two(InstanceState.STARTING))
    bench = await pinned(known, Pin("tiny", ON_OTHER, fallback=True))
    assert asked(bench) == {"one"}
    known.record(two(InstanceState.READY))
    assert asked(bench) == {"two"}
    known.record(Instance(NodeId("box"), RuntimeId("one"), InstanceState.ERROR))
    known.record(two(InstanceState.ERROR))
    with pytest.raises(NotServing) as raised:
        asked(bench)
    assert raised.value.code == "not_ready"
