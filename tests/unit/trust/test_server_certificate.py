from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from control_plane.trust import server_certificate
from control_plane.trust.authority import EmbeddedAuthority, Lifetimes
from control_plane.trust.server_certificate import ServerCertificate
from tests.fakes.clock import FakeClock

WEEK = timedelta(days=7)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def made(directory: Path, clock: FakeClock, *hosts: str) -> ServerCertificate:
    authority = EmbeddedAuthority.open(directory, clock, Lifetimes(server=WEEK))
    return ServerCertificate(directory, authority, clock, hosts)


def serial(certificate: ServerCertificate) -> int:
    return x509.load_pem_x509_certificates(certificate.chain_path.read_bytes())[0].serial_number


def test_a_good_certificate_is_kept_over_a_restart(tmp_path: Path, clock: FakeClock) -> None:
    assert serial(made(tmp_path, clock)) == serial(made(tmp_path, clock))


def test_it_is_renewed_at_two_thirds_of_its_life_and_says_so(tmp_path: Path, clock: FakeClock) -> None:
    certificate = made(tmp_path, clock)
    told: list[int] = []
    certificate.on_renewal(lambda: told.append(serial(certificate)))
    first = serial(certificate)
    clock.advance(WEEK * 0.65)
    certificate.refresh()
    assert serial(certificate) == first
    clock.advance(WEEK * 0.03)
    certificate.refresh()
    assert told == [serial(certificate)]
    assert serial(certificate) != first


async def test_a_disk_that_refuses_the_renewal_is_tried_again(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_certificate, "RETRY_SECONDS", 0.01)
    directory, away = tmp_path / "trust", tmp_path / "away"
    directory.mkdir()
    certificate = made(directory, clock)
    before = serial(certificate)
    clock.advance(WEEK * 0.7)
    running = asyncio.create_task(certificate.run())
    directory.rename(away)
    await asyncio.sleep(0.3)
    assert not running.done()
    away.rename(directory)
    async with asyncio.timeout(5):
        while serial(certificate) == before:  # noqa: ASYNC110 - the file says nothing
            await asyncio.sleep(0.02)
    running.cancel()
    await asyncio.wait({running})


def test_a_new_host_needs_a_new_certificate(tmp_path: Path, clock: FakeClock) -> None:
    first = serial(made(tmp_path, clock))
    assert serial(made(tmp_path, clock, "plane.example")) != first


def test_a_damaged_file_is_replaced(tmp_path: Path, clock: FakeClock) -> None:
    made(tmp_path, clock).chain_path.write_text("damaged")
    assert serial(made(tmp_path, clock))


def test_the_chain_holds_the_authority_for_joiners_to_check(tmp_path: Path, clock: FakeClock) -> None:
    certificate = made(tmp_path, clock)
    chain = x509.load_pem_x509_certificates(certificate.chain_path.read_bytes())
    assert chain[1] == x509.load_pem_x509_certificate(certificate.ca_path.read_bytes())
