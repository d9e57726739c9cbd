from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from node_agent.domain.errors import NotJoined
from node_agent.identity.files import IdentityFiles
from tests.fakes.certificates import Issuer


def test_what_join_wrote_is_read_back_and_for_this_user_only(
    files: IdentityFiles, issuer: Issuer, tmp_path: Path
) -> None:
    assert files.joined
    assert files.identity() == issuer.identity
    assert files.current().leaf.issuer == issuer.certificate.subject
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
    assert {path.name for path in tmp_path.iterdir()} == {"node.key", "node.pem", "ca.pem", "identity.json"}


def test_a_machine_that_never_joined_says_how(tmp_path: Path) -> None:
    files = IdentityFiles(tmp_path)
    assert not files.joined
    with pytest.raises(NotJoined) as refused:
        files.identity()
    assert "arw-node-agent join" in refused.value.remedy


def test_a_damaged_identity_is_said_to_be_damaged(files: IdentityFiles, tmp_path: Path) -> None:
    (tmp_path / "identity.json").write_text("{")
    with pytest.raises(NotJoined, match="cannot be read"):
        files.identity()


def test_a_key_of_another_certificate_is_refused(files: IdentityFiles, issuer: Issuer, tmp_path: Path) -> None:
    (tmp_path / "node.key").write_bytes(issuer.node("n1")[0])
    with pytest.raises(NotJoined, match="do not belong together"):
        files.current()


def test_a_candidate_lies_beside_until_it_is_promoted(files: IdentityFiles, issuer: Issuer) -> None:
    before = files.current()
    files.write_candidate(*issuer.node("n1"), issuer.ca_pem)
    assert files.current().chain_pem == before.chain_pem
    candidate = files.candidate()
    assert candidate is not None
    files.promote()
    assert files.current().chain_pem == candidate.chain_pem
    assert files.candidate() is None


def test_a_promotion_cut_in_the_middle_is_finished(files: IdentityFiles, issuer: Issuer, tmp_path: Path) -> None:
    files.write_candidate(*issuer.node("n1"), issuer.ca_pem)
    candidate = files.candidate()
    assert candidate is not None
    (tmp_path / "next.key").replace(tmp_path / "node.key")
    assert files.current().chain_pem == candidate.chain_pem
    assert files.candidate() is None


class Watched(IdentityFiles):
    """Lets another process do something before a file is first used."""

    def __init__(self, directory: Path, name: str, meanwhile: Callable[[], object]) -> None:
        super().__init__(directory)
        self._awaited, self._meanwhile = name, meanwhile

    def _path(self, name: str) -> Path:
        if name == self._awaited:
            self._awaited = ""
            self._meanwhile()
        return super()._path(name)


def test_a_promotion_that_a_reader_finished_is_none_the_worse(
    files: IdentityFiles, issuer: Issuer, tmp_path: Path
) -> None:
    files.write_candidate(*issuer.node("n1"), issuer.ca_pem)
    candidate = files.candidate()
    assert candidate is not None
    Watched(tmp_path, "next.pem", files.current).promote()
    assert files.current().chain_pem == candidate.chain_pem


def test_who_reads_during_a_promotion_reads_what_belongs_together(
    files: IdentityFiles, issuer: Issuer, tmp_path: Path
) -> None:
    files.write_candidate(*issuer.node("n1"), issuer.ca_pem)
    candidate = files.candidate()
    assert candidate is not None
    key = (tmp_path / "node.key").read_bytes()
    reader = Watched(tmp_path, "node.pem", files.promote)
    assert reader.current().chain_pem == candidate.chain_pem
    assert (tmp_path / "node.key").read_bytes() != key


def test_half_a_candidate_is_none(files: IdentityFiles, issuer: Issuer, tmp_path: Path) -> None:
    files.write_candidate(*issuer.node("n1"), issuer.ca_pem)
    (tmp_path / "next.key").write_bytes(issuer.node("n1")[0])
    assert files.candidate() is None
    assert files.current().leaf.serial_number


def test_joining_again_gives_up_the_old_identity_and_its_candidate(files: IdentityFiles, issuer: Issuer) -> None:
    files.write_candidate(*issuer.node("n1"), issuer.ca_pem)
    files.write(replace(issuer.identity, node="n2"), *issuer.node("n2"), issuer.ca_pem)
    assert files.identity().node == "n2"
    assert files.candidate() is None
