"""The authority's key, sealed by a secret."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from control_plane.domain.errors import InvalidArgument, StorageUnavailable
from control_plane.trust.authority import EmbeddedAuthority, Lifetimes
from control_plane.trust.key_file import load_or_make_key
from control_plane.trust.sealing import NONCE_BYTES, SALT_BYTES, sealed, unsealed
from control_plane.trust.secret_file import SHORTEST_SECRET, read_secret
from tests.fakes.clock import FakeClock
from wire.credentials import spki_sha256

SECRET = b"correct horse battery staple and some more"
Change = Callable[[bytes], bytes]
Authority = tuple[ec.EllipticCurvePrivateKey, x509.Certificate]


def made(directory: Path) -> Authority:
    directory.mkdir()
    certificate = EmbeddedAuthority.open(directory, FakeClock(), Lifetimes()).certificate
    return load_or_make_key(directory / "ca.key"), certificate


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return made(tmp_path / "one")


def test_the_key_comes_back_by_its_secret(authority: Authority) -> None:
    assert spki_sha256(unsealed(sealed(*authority, SECRET), authority[1], SECRET)) == spki_sha256(authority[0])


def test_no_two_envelopes_are_alike_and_none_shows_the_key(authority: Authority) -> None:
    one, two = sealed(*authority, SECRET), sealed(*authority, SECRET)
    shown = 1 + SALT_BYTES + NONCE_BYTES
    assert one[1:shown] != two[1:shown]
    number = authority[0].private_numbers().private_value.to_bytes(32, "big")
    assert number not in one


@pytest.mark.parametrize("secret", [b"", SECRET[:-1], SECRET + b"\n", SECRET.upper()])
def test_another_secret_opens_nothing_and_is_told_what_to_do(authority: Authority, secret: bytes) -> None:
    with pytest.raises(InvalidArgument, match="does not open") as refused:
        unsealed(sealed(*authority, SECRET), authority[1], secret)
    assert "arw-control-plane seal" in refused.value.remedy
    assert SECRET.decode() not in str(refused.value)


@pytest.mark.parametrize("place", [1, 1 + SALT_BYTES, 1 + SALT_BYTES + NONCE_BYTES, -1])
def test_one_changed_bit_opens_nothing(authority: Authority, place: int) -> None:
    envelope = bytearray(sealed(*authority, SECRET))
    envelope[place] ^= 1
    with pytest.raises(InvalidArgument, match="was changed"):
        unsealed(bytes(envelope), authority[1], SECRET)


def test_a_key_cannot_be_passed_off_as_another_authoritys(authority: Authority, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="was changed"):
        unsealed(sealed(*authority, SECRET), made(tmp_path / "two")[1], SECRET)


def test_a_key_that_was_sealed_with_a_certificate_not_its_own_is_not_used(authority: Authority, tmp_path: Path) -> None:
    other = made(tmp_path / "two")[1]
    with pytest.raises(StorageUnavailable, match="not the key"):
        unsealed(sealed(authority[0], other, SECRET), other, SECRET)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda whole: b"\x02" + whole[1:], "newer version"),
        (lambda whole: b"\x00" + whole[1:], "damaged"),
        (lambda _: b"", "damaged"),
        (lambda whole: whole[: 1 + SALT_BYTES + NONCE_BYTES], "damaged"),
    ],
)
def test_what_is_no_envelope_of_ours_is_named_as_such(authority: Authority, change: Change, words: str) -> None:
    with pytest.raises(StorageUnavailable, match=words) as refused:
        unsealed(change(sealed(*authority, SECRET)), authority[1], SECRET)
    assert refused.value.remedy


def test_a_secret_is_read_without_the_blanks_around_it(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_bytes(b" " + SECRET + b"\n")
    file.chmod(0o600)
    assert read_secret(str(file)) == SECRET
    assert read_secret("") == b""


@pytest.mark.parametrize(
    ("content", "mode", "words", "remedy"),
    [
        (None, 0o600, "No such file", "openssl rand"),
        (b"x" * (SHORTEST_SECRET - 1) + b"\n\n", 0o600, "shorter than 32", "openssl rand"),
        (SECRET, 0o640, "read by others", "chmod 600"),
        (SECRET, 0o604, "read by others", "chmod 600"),
    ],
)
def test_a_file_that_is_no_secret_is_refused_with_how_to_make_one(
    tmp_path: Path, content: bytes | None, mode: int, words: str, remedy: str
) -> None:
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content)
        file.chmod(mode)
    with pytest.raises(InvalidArgument, match=words) as refused:
        read_secret(str(file))
    assert remedy in refused.value.remedy
