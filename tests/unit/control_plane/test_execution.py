"""A node that has no mode for a runtime is not chosen for it, and says why."""

from __future__ import annotations

from dataclasses import replace

import pytest

from control_plane.domain.execution import ExecutionMode, ExecutionOffer, ExecutionSettings
from control_plane.domain.node import Engine, LocalLimits, NodeInventory
from control_plane.domain.placing.objections import objections
from control_plane.domain.placing.placement import place, verdicts
from control_plane.domain.problem import Problem
from control_plane.domain.runtime import ExternalSettings, RuntimeSpec
from control_plane.use_cases.announcements import node_advertised, state_changed
from tests.fakes.clock import NOON
from tests.fakes.control_plane import (
    ENGINE,
    TINY,
    a_model,
    a_node,
    a_runtime,
    a_spec,
    an_instance,
    an_inventory,
    seen,
)

NATIVE, CONTAINER = ExecutionMode.NATIVE, ExecutionMode.CONTAINER
IMAGE = Engine("llama.cpp", "/app/llama-server", "cd" * 32, "b11549", "llama:1")
PODMAN = ExecutionOffer(CONTAINER, available=True, detail="podman 4.3.1")
NO_TOOL = ExecutionOffer(CONTAINER, available=False, detail="neither podman nor docker is on PATH.")
HERE = ExecutionOffer(NATIVE, available=True)
BOTH = (HERE, PODMAN)


def inventory(*engines: Engine, offers: tuple[ExecutionOffer, ...] = (), modes: tuple[str, ...] = ()) -> NodeInventory:
    limits = LocalLimits("/etc/n.toml", modes=modes)
    return replace(an_inventory(engines=engines), execution=offers, limits=limits)


def against(settings: ExecutionSettings, has: NodeInventory) -> list[Problem]:
    runtime = a_runtime(spec=a_spec(execution=settings))
    return list(objections(runtime, a_model(), seen(a_node(inventory=has))))


ONLY_NATIVE, ONLY_CONTAINER = ExecutionSettings((NATIVE,)), ExecutionSettings((CONTAINER,))


@pytest.mark.parametrize(
    ("settings", "has"),
    [
        (ExecutionSettings(), inventory(ENGINE)),
        (ExecutionSettings(preferred=CONTAINER), inventory(ENGINE)),
        (ExecutionSettings(image="llama:2"), inventory(ENGINE)),
        (ONLY_NATIVE, inventory(ENGINE)),
        (ONLY_NATIVE, inventory(ENGINE, offers=BOTH)),
        (ONLY_CONTAINER, inventory(ENGINE, IMAGE, offers=BOTH)),
        (ONLY_CONTAINER, inventory(IMAGE, offers=(PODMAN,), modes=("container",))),
        (ExecutionSettings(), inventory(IMAGE, offers=BOTH)),
        (ExecutionSettings(image="llama:1"), inventory(IMAGE, offers=BOTH)),
        (ExecutionSettings(), inventory(ENGINE, IMAGE, offers=BOTH, modes=("container",))),
    ],
)
def test_a_node_that_has_one_of_the_modes_will_do(settings: ExecutionSettings, has: NodeInventory) -> None:
    assert against(settings, has) == []


@pytest.mark.parametrize(
    ("settings", "has", "why"),
    [
        (ONLY_CONTAINER, inventory(ENGINE), "in a container: its agent does not know how"),
        (ONLY_CONTAINER, inventory(IMAGE, offers=(HERE, NO_TOOL)), "neither podman nor docker is on PATH."),
        (ONLY_CONTAINER, inventory(ENGINE, offers=BOTH), "in a container: it trusts no image for llama.cpp"),
        (
            replace(ONLY_CONTAINER, image="llama:2"),
            inventory(IMAGE, offers=BOTH),
            "it does not trust the image llama:2 for llama.cpp",
        ),
        (ONLY_NATIVE, inventory(IMAGE, offers=BOTH), "natively: it trusts llama.cpp in images alone"),
        (ONLY_NATIVE, inventory(ENGINE, offers=(PODMAN,)), "natively: its agent does not know how"),
        (
            ExecutionSettings(),
            inventory(ENGINE, offers=BOTH, modes=("container",)),
            "natively: its owner does not allow it; nor in a container: it trusts no image for llama.cpp.",
        ),
        (ExecutionSettings((ExecutionMode.UNSPECIFIED,)), inventory(ENGINE), "in a mode that is not known here"),
    ],
)
def test_a_node_that_has_none_of_the_modes_says_what_each_lacks(
    settings: ExecutionSettings, has: NodeInventory, why: str
) -> None:
    (problem,) = against(settings, has)
    assert problem.reason == "EXECUTION_MODE_UNAVAILABLE"
    assert problem.text.startswith("Node n1 cannot run it ")
    assert why in problem.text
    assert problem.remedy
    assert problem.metadata == {"node": "nodes/n1", "modes": ", ".join(settings.possible)}


def test_a_node_without_any_engine_of_the_adapter_is_told_of_that_alone() -> None:
    (problem,) = against(ONLY_CONTAINER, inventory(replace(IMAGE, adapter="vllm"), offers=BOTH))
    assert (problem.reason, problem.text) == ("ENGINE_NOT_FOUND", "Node n1 trusts no llama.cpp engine.")


def test_what_the_owner_forbids_altogether_is_the_owners_word_and_no_lack() -> None:
    (problem,) = against(ONLY_CONTAINER, inventory(IMAGE, offers=BOTH, modes=("native",)))
    assert (problem.reason, problem.metadata["rule"]) == ("LOCAL_POLICY_DENIED", "modes")
    assert "does not let engines run in a container there" in problem.text


def test_what_runs_already_has_no_mode() -> None:
    spec = RuntimeSpec("external", external=ExternalSettings("http://127.0.0.1:1"))
    view = seen(a_node(inventory=inventory(offers=(NO_TOOL,))))
    assert list(objections(a_runtime(spec=spec), None, view)) == []


def test_runtimes_that_differ_in_their_modes_alone_are_judged_apart() -> None:
    views = [seen(a_node("n1")), seen(a_node("n2", inventory=inventory(IMAGE, offers=BOTH)))]
    wanted = [
        a_runtime(name, spec=a_spec(execution=ExecutionSettings((mode,))))
        for name, mode in (("a", NATIVE), ("b", CONTAINER))
    ]
    found = place(wanted, {TINY: a_model()}, {view.node.id: view for view in views})
    assert [assignment.node for assignment in found] == ["n1", "n2"]


def test_explaining_names_the_mode_that_each_node_lacks() -> None:
    runtime = a_runtime(spec=a_spec(execution=ONLY_CONTAINER))
    views = [seen(a_node("n1")), seen(a_node("n2", inventory=inventory(IMAGE, offers=BOTH)))]
    first, second = verdicts(runtime, a_model(), views, {})
    assert [problem.reason for problem in first.problems] == ["EXECUTION_MODE_UNAVAILABLE"]
    assert second.chosen


def test_the_journal_keeps_how_an_engine_was_run_and_why() -> None:
    instance = an_instance(execution_mode=CONTAINER, execution_reason="preferred by the manifest")
    payload = state_changed(instance, NOON).payload
    assert (payload["execution_mode"], payload["execution_reason"]) == ("container", "preferred by the manifest")
    told = node_advertised(a_node(inventory=inventory(IMAGE, offers=(NO_TOOL,))), NOON).payload
    assert told["engines"][0]["image"] == "llama:1"
    assert told["execution"] == [{"mode": "container", "available": False, "detail": NO_TOOL.detail}]
