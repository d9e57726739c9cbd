"""What the owner says of the sandbox, what is told of it, and where an engine's files lie."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from node_agent.domain.errors import LocalPolicyDenied
from node_agent.runtimes.sandbox import cgroup, confine, landlock, paths
from node_agent.runtimes.sandbox.offered import layers_here
from node_agent.runtimes.sandbox.policy import LAYERS, Sandbox, SandboxPolicy, user_of


@pytest.fixture
def policy(tmp_path: Path) -> SandboxPolicy:
    return SandboxPolicy(tmp_path / "sandbox.toml")


def said(tmp_path: Path, text: str) -> None:
    (tmp_path / "sandbox.toml").write_text(text)


def test_without_a_file_every_layer_is_used_where_it_can_be(policy: SandboxPolicy) -> None:
    assert policy.read() == Sandbox()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("usr = 'x'", "usr"),
        ("memory_limit_mib = 'much'", "memory_limit_mib"),
        ("memory_limit_mib = -1", "below zero"),
        ("required = ['firewall']", "no layer firewall"),
        ("required = ['memory-limit']\noff = ['memory-limit']", "both required and off"),
        ("write = ['data']", "data is not an absolute path"),
        ("use = ", "Invalid value"),
    ],
)
def test_what_cannot_be_followed_starts_nothing_and_says_why(
    policy: SandboxPolicy, tmp_path: Path, text: str, why: str
) -> None:
    said(tmp_path, text)
    with pytest.raises(LocalPolicyDenied, match=why):
        policy.read()
    layers = layers_here(policy)
    assert not [layer for layer in layers if layer.in_force]
    assert all(why in layer.reason for layer in layers)


def test_every_layer_is_told_and_one_that_is_not_in_force_says_why(policy: SandboxPolicy, tmp_path: Path) -> None:
    said(tmp_path, f"off = ['{landlock.NETWORK}']")
    layers = {layer.name: layer for layer in layers_here(policy)}
    assert tuple(layers) == LAYERS
    assert layers[landlock.NETWORK].reason == "it is off in sandbox.toml"
    assert layers[cgroup.MEMORY].reason == cgroup.NO_LIMIT
    assert all(layer.in_force == (not layer.reason) for layer in layers.values())
    assert all(layers[name].in_force for name in confine.ALWAYS)


def test_each_version_of_landlock_offers_what_it_offers() -> None:
    def offered(known: int) -> set[str]:
        return {name for name in landlock.SINCE if not confine.landlock_reason(name, known, "none", {})}

    assert offered(0) == set()
    assert offered(1) == offered(3) == {landlock.FILES}
    assert offered(4) == {landlock.FILES, landlock.NETWORK}
    assert offered(6) == offered(9) == set(landlock.SINCE)
    assert confine.landlock_reason(landlock.SCOPE, 4, "", {}) == "it needs version 6 of Landlock, and this kernel has 4"


def test_root_is_no_other_user() -> None:
    user, why = user_of(Sandbox(user="root"))
    assert user is None
    assert why == (
        "root is root" if not os.geteuid() else "the agent is not root, so it cannot start engines as another user"
    )


def test_an_engines_folder_is_left_out_when_the_agents_state_lies_in_it(tmp_path: Path) -> None:
    engine = tmp_path / "llama-server"
    engine.write_text("#!/bin/sh\n")
    apart, below = tmp_path / "elsewhere", tmp_path / "state"
    apart.mkdir()
    below.mkdir()
    assert str(tmp_path) not in paths.engine_paths(str(engine), [str(engine)], [], below)
    (apart / "state").mkdir()
    (tmp_path / "bin").mkdir()
    moved = engine.rename(tmp_path / "bin" / "llama-server")
    found = paths.engine_paths(str(moved), [str(moved)], [], apart / "state")
    assert {str(moved), str(moved.parent), "/bin/sh"} <= set(found)


def test_a_folder_that_anyone_may_write_to_is_no_engines_own(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    (tmp_path / "state").mkdir()
    assert str(shared) not in paths.engine_paths("/bin/true", [str(shared / "x")], [], tmp_path / "state")


def test_the_devices_of_every_maker_are_found_by_the_names_that_drivers_give(tmp_path: Path) -> None:
    names = ("nvidia0", "nvidiactl", "nvidia-uvm", "dri", "kfd", "accel", "dxg")
    for name in (*names, "sda", "mem", "kvm"):
        (tmp_path / "dev" / name).mkdir(parents=True)
    assert {Path(path).name for path in paths.there(paths.ACCELERATORS, tmp_path)} == set(names)


def test_the_parts_of_a_model_come_with_it_and_its_neighbours_do_not(tmp_path: Path) -> None:
    for name in ("a-00001-of-00002.gguf", "a-00002-of-00002.gguf", "a-00001-of-00003.gguf", "b.gguf"):
        (tmp_path / name).touch()
    found = paths.model_paths(str(tmp_path / "a-00001-of-00002.gguf"), whole_folder=False)
    assert [Path(path).name for path in found] == ["a-00001-of-00002.gguf", "a-00002-of-00002.gguf"]
    assert paths.model_paths(str(tmp_path / "b.gguf"), whole_folder=False) == [str(tmp_path / "b.gguf")]
    assert paths.model_paths(str(tmp_path / "b.gguf"), whole_folder=True) == [str(tmp_path)]
