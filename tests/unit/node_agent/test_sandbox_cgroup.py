"""Limits of version 2, in a tree as a kernel shows it: this machine may only have version 1."""

from __future__ import annotations

from pathlib import Path

import pytest

from node_agent.runtimes.sandbox import cgroup
from node_agent.runtimes.sandbox.cgroup import MEMORY, PIDS, Cgroup

LEAF = "arw-0-1"
FILES = ("cgroup.kill", "cgroup.procs", "memory.max", "memory.swap.max", "memory.oom.group", "pids.max")


class Tree:
    def __init__(self, root: Path) -> None:
        self.group = root / "system.slice" / "arw.service"
        self.leaf = self.group / LEAF
        self.leaf.mkdir(parents=True)
        for name in FILES:
            (self.leaf / name).touch()
        for name, content in (
            ("controllers", "cpu memory pids"),
            ("subtree_control", ""),
            ("procs", ""),
            ("type", "domain"),
        ):
            (self.group / f"cgroup.{name}").write_text(content)

    def read(self, name: str) -> str:
        return (self.leaf / name).read_text()


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    made = Tree(tmp_path)
    own = tmp_path / "own"
    own.write_text(f"0::/{made.group.relative_to(tmp_path)}\n")
    monkeypatch.setattr(cgroup, "CGROUPS", str(tmp_path))
    monkeypatch.setattr(cgroup, "MEMBERSHIP", str(own))
    return made


def test_memory_and_processes_of_the_whole_tree_are_limited(tree: Tree) -> None:
    layers = {layer["name"]: layer["in_force"] for layer in Cgroup(LEAF, 64 << 20, 40).limit()}
    assert layers == {MEMORY: True, PIDS: True}
    assert (tree.read("memory.max"), tree.read("pids.max")) == (str(64 << 20), "40")
    assert (tree.read("memory.swap.max"), tree.read("memory.oom.group")) == ("0", "1")
    assert (tree.group / "cgroup.subtree_control").read_text() in {"+memory", "+pids"}


def test_a_limit_that_is_not_set_is_told(tree: Tree) -> None:
    memory, pids = Cgroup(LEAF, 0, 40).limit()
    assert (memory["in_force"], memory["reason"]) == (False, cgroup.NO_LIMIT[MEMORY])
    assert pids["in_force"]
    assert tree.read("memory.max") == ""


def test_a_limit_that_the_kernel_refuses_is_told_with_its_reason(tree: Tree) -> None:
    (tree.leaf / "memory.max").unlink()
    (tree.leaf / "memory.max").mkdir()
    memory = Cgroup(LEAF, 64 << 20, 0).limit()[0]
    assert not memory["in_force"]
    assert "memory.max: Is a directory" in str(memory["reason"])


def test_a_group_without_the_controller_offers_no_limit(tree: Tree) -> None:
    for name in ("memory.max", "pids.max"):
        (tree.leaf / name).unlink()
    assert [layer["reason"] for layer in Cgroup(LEAF, 64 << 20, 40).limit()] == [cgroup.NOT_OFFERED] * 2


@pytest.mark.parametrize(
    ("events", "limit"), [("oom 1\noom_kill 1", 64 << 20), ("oom 0\noom_kill 1", 0), ("oom 0\noom_kill 0", 0)]
)
def test_its_own_limit_is_told_from_a_machine_without_memory(tree: Tree, events: str, limit: int) -> None:
    (tree.leaf / "memory.events").write_text(events)
    assert Cgroup(LEAF, 64 << 20, 0).limit_met() == limit


def test_a_group_that_holds_the_agent_cannot_limit_groups_below(tree: Tree) -> None:
    assert cgroup.offered(MEMORY)
    (tree.group / "cgroup.procs").write_text("1\n")
    assert not cgroup.offered(MEMORY)
    (tree.group / "cgroup.subtree_control").write_text("memory")
    assert cgroup.offered(MEMORY)


def test_an_agent_in_a_group_of_its_own_makes_leaves_beside_it(tree: Tree, tmp_path: Path) -> None:
    own = tree.group / cgroup.OWN_GROUP
    own.mkdir()
    Path(cgroup.MEMBERSHIP).write_text(f"0::/{own.relative_to(tmp_path)}\n")
    assert Cgroup(LEAF, 64 << 20, 40).paths == [str(tree.leaf)]
