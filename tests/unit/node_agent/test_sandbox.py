"""What is told of the sandbox, and where an engine's files lie."""

from __future__ import annotations

import os
from pathlib import Path

from node_agent.domain.limits import Limits
from node_agent.domain.sandbox import Sandbox
from node_agent.runtimes.sandbox import cgroup, confine, landlock, paths
from node_agent.runtimes.sandbox.layers import LAYERS
from node_agent.runtimes.sandbox.offered import layers_here
from node_agent.runtimes.sandbox.user import user_of


def test_of_a_word_that_cannot_be_followed_every_layer_says_why() -> None:
    layers = layers_here(Limits(file="/etc/node_agent.toml", unreadable="line 1: colour is not known"))
    assert tuple(layer.name for layer in layers) == LAYERS
    assert not [layer for layer in layers if layer.in_force]
    assert {layer.reason for layer in layers} == {
        "/etc/node_agent.toml cannot be followed, so nothing is started: line 1: colour is not known"
    }


def test_every_layer_is_told_and_one_that_is_not_in_force_says_why() -> None:
    layers = {layer.name: layer for layer in layers_here(Limits(sandbox=Sandbox(off=(landlock.NETWORK,))))}
    assert tuple(layers) == LAYERS
    assert layers[landlock.NETWORK].reason == "the owner of this node left it out: sandbox.off"
    assert layers[cgroup.MEMORY].reason == "no limit is set for it: memory.per_runtime"
    assert all(layer.in_force == (not layer.reason) for layer in layers.values())
    assert all(layers[name].in_force for name in confine.ALWAYS)


def test_the_memory_of_a_runtime_is_a_layer_where_the_kernel_offers_it() -> None:
    layers = {layer.name: layer for layer in layers_here(Limits(memory_per_runtime_bytes=1 << 30))}
    assert layers[cgroup.MEMORY].in_force == cgroup.offered(cgroup.MEMORY)
    assert layers[cgroup.MEMORY].reason in ("", cgroup.NOT_OFFERED)


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
