from __future__ import annotations

import hashlib
from pathlib import Path

from wire.machine_id import lasting_machine_id_hash, machine_id_hash


def with_machine_id(root: Path, text: str, name: str = "etc/machine-id") -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return root


def test_the_machine_id_itself_never_leaves(tmp_path: Path) -> None:
    told = machine_id_hash(with_machine_id(tmp_path, "0123456789abcdef\n"))
    assert len(told) == 64
    assert told != hashlib.sha256(b"0123456789abcdef").hexdigest()


def test_the_same_machine_always_tells_the_same(tmp_path: Path) -> None:
    first = machine_id_hash(with_machine_id(tmp_path / "a", "one"))
    again = machine_id_hash(with_machine_id(tmp_path / "b", "one\n", "var/lib/dbus/machine-id"))
    other = machine_id_hash(with_machine_id(tmp_path / "c", "two"))
    assert first == again
    assert first != other


def test_only_an_id_of_the_machines_own_lasts(tmp_path: Path) -> None:
    known = with_machine_id(tmp_path / "a", "one")
    assert lasting_machine_id_hash(known) == machine_id_hash(known)
    assert lasting_machine_id_hash(tmp_path / "nothing") == ""


def test_a_machine_without_an_id_is_still_told_apart(tmp_path: Path) -> None:
    empty = with_machine_id(tmp_path, "uninitialized\n")
    assert machine_id_hash(empty) == machine_id_hash(tmp_path / "nothing")
