from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from node_agent.disk.database import Database
from node_agent.disk.digests import DiskDigests
from node_agent.domain.errors import EngineNotFound, EngineNotTrusted, ExecutionModeUnavailable, LocalPolicyDenied
from node_agent.domain.inventory import Engine, ExecutionOffer
from node_agent.domain.limits import Limits
from node_agent.domain.spec import ExecutionMode, ExecutionSettings, ProcessSettings
from node_agent.runtimes.modes import Chosen, choose, offers
from node_agent.runtimes.trust import TrustList
from tests.fakes.instance_specs import spec

NATIVE, CONTAINER = ExecutionMode.NATIVE, ExecutionMode.CONTAINER
THERE = ExecutionOffer(CONTAINER, available=True, detail="podman 5.4.0")
NOT_THERE = ExecutionOffer(CONTAINER, available=False, detail="neither podman nor docker is on the agent's PATH")
IMAGE = Engine("llama.cpp", ("/app/llama-server",), (("localhost/llama:1", "ab12"),), image="localhost/llama:1")


@pytest.fixture
def trusted(tmp_path: Path) -> TrustList:
    return TrustList(tmp_path / "engines.json", DiskDigests(Database(tmp_path / "agent.db")))


@pytest.fixture
def both(trusted: TrustList, tmp_path: Path) -> TrustList:
    program = tmp_path / "llama-server"
    program.touch()
    trusted.keep([Engine("llama.cpp", (str(program),), ((str(program), "00"),)), IMAGE])
    return trusted


def chosen(trusted: TrustList, limits: Limits | None = None, offer: ExecutionOffer = THERE, **execution: Any) -> Chosen:
    return choose(spec(execution=ExecutionSettings(**execution)), limits or Limits(), trusted, offer)


@pytest.mark.parametrize(
    ("limits", "execution", "mode", "why"),
    [
        (Limits(), {}, NATIVE, "native is this node's default"),
        (Limits(default_mode=CONTAINER), {}, CONTAINER, "container is this node's default"),
        (Limits(), {"preferred": CONTAINER}, CONTAINER, "its manifest prefers container"),
        (Limits(), {"modes": frozenset({CONTAINER})}, CONTAINER, "its manifest allows container alone"),
        (Limits(modes=frozenset({CONTAINER})), {}, CONTAINER, "this node's owner allows container alone"),
        (Limits(modes=frozenset({NATIVE})), {"preferred": CONTAINER}, NATIVE, "this node's owner allows native alone"),
        (Limits(default_mode=CONTAINER), {"preferred": NATIVE}, NATIVE, "its manifest prefers native"),
    ],
)
def test_manifest_owner_and_default_decide_in_this_order(
    both: TrustList, limits: Limits, execution: dict[str, Any], mode: ExecutionMode, why: str
) -> None:
    found = chosen(both, limits, **execution)
    assert (found.mode, found.reason) == (mode, why)
    assert bool(found.engine.image) is (mode is CONTAINER)


def test_what_cannot_be_had_is_passed_over_and_said(both: TrustList) -> None:
    found = chosen(both, offer=NOT_THERE, preferred=CONTAINER)
    assert found.mode is NATIVE
    assert found.reason.startswith("native is this node's default; container: Nothing on this node runs containers")


def test_a_node_with_images_alone_uses_them(trusted: TrustList) -> None:
    trusted.keep([IMAGE])
    assert chosen(trusted).mode is CONTAINER


def test_where_the_only_mode_cannot_be_had_the_refusal_says_why(both: TrustList) -> None:
    with pytest.raises(ExecutionModeUnavailable, match="neither podman nor docker"):
        chosen(both, offer=NOT_THERE, modes=frozenset({CONTAINER}))


def test_where_neither_can_be_had_the_first_ones_reason_is_told(trusted: TrustList) -> None:
    with pytest.raises((EngineNotFound, EngineNotTrusted)):
        chosen(trusted, offer=NOT_THERE)


def test_an_owner_who_allows_none_of_them_is_named(both: TrustList) -> None:
    with pytest.raises(LocalPolicyDenied, match="does not let engines run in a container"):
        chosen(both, Limits(modes=frozenset({NATIVE}), file="/etc/arw"), modes=frozenset({CONTAINER}))


def test_an_image_that_is_named_must_be_the_trusted_one(both: TrustList) -> None:
    container = frozenset({CONTAINER})
    assert chosen(both, modes=container, image="localhost/llama:1").engine.image == "localhost/llama:1"
    with pytest.raises(EngineNotTrusted, match="localhost/llama:2"):
        chosen(both, modes=container, image="localhost/llama:2")


def test_a_program_of_ones_own_is_looked_for_in_the_image(trusted: TrustList) -> None:
    trusted.keep([replace(IMAGE, adapter="process")])
    wanted = spec(adapter="process", process=ProcessSettings(("/app/tool", "{port}")))
    assert choose(wanted, Limits(), trusted, THERE).engine.command == ("/app/tool",)


def test_what_the_owner_forbids_is_offered_with_the_reason() -> None:
    native, container = offers(Limits(modes=frozenset({NATIVE}), file="/etc/arw"), THERE)
    assert native.available
    assert (container.available, "rule modes in /etc/arw" in container.detail) == (False, True)


def test_an_image_that_is_trusted_again_takes_its_own_place(trusted: TrustList) -> None:
    trusted.keep([IMAGE, replace(IMAGE, adapter="process")])
    trusted.keep([replace(IMAGE, digests=(("localhost/llama:1", "cd34"),))])
    assert [(engine.adapter, engine.digests[0][1]) for engine in trusted.engines()] == [
        ("llama.cpp", "cd34"),
        ("process", "ab12"),
    ]
