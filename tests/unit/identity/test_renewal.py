from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509

from node_agent.identity.files import Certificate
from node_agent.identity.issued import issued_files
from node_agent.identity.renewal import renewal_time, retry_delay
from tests.fakes.certificates import DAY, Issuer
from wire.credentials import certificate_pem, key_pem, new_key

START = datetime(2026, 11, 20, 12, tzinfo=UTC)


def certificate(life: timedelta = DAY, received: datetime = START) -> Certificate:
    key, chain = Issuer.make().node("n1", START, life)
    return Certificate(chain, key, x509.load_pem_x509_certificates(chain)[0], received)


@pytest.mark.parametrize(("chance", "hours"), [(0.0, 14.4), (0.5, 16.0), (1.0, 17.6)])
def test_a_day_long_certificate_is_renewed_at_two_thirds_give_or_take(chance: float, hours: float) -> None:
    assert renewal_time(certificate(), chance) - START == pytest.approx(
        timedelta(hours=hours), abs=timedelta(seconds=1)
    )


def test_a_start_date_before_it_arrived_does_not_shorten_its_life() -> None:
    """Issuers date certificates back a little; a short one would otherwise be due the moment it arrives."""
    short = certificate(timedelta(seconds=66), received=START + timedelta(seconds=60))
    assert renewal_time(short, 0.5) == START + timedelta(seconds=64)


def test_a_failed_renewal_is_tried_hourly_and_at_last_every_minute() -> None:
    assert retry_delay(certificate(), START + timedelta(hours=17)) == timedelta(hours=1)
    assert retry_delay(certificate(), START + timedelta(hours=22)) == timedelta(minutes=1)
    assert retry_delay(certificate(), START + timedelta(days=9)) == timedelta(minutes=1)


def test_a_certificate_for_another_key_is_not_taken() -> None:
    issuer = Issuer.make()
    key, other = new_key(), new_key()
    leaf = issuer.leaf(other.public_key(), [x509.DNSName("n1")])
    with pytest.raises(ValueError, match="another key"):
        issued_files(key, [_der(leaf)], [issuer.ca_der])


def test_a_certificate_of_a_strange_authority_is_not_taken() -> None:
    key = new_key()
    leaf = Issuer.make().leaf(key.public_key(), [x509.DNSName("n1")])
    with pytest.raises(ValueError, match="not signed"):
        issued_files(key, [_der(leaf)], [Issuer.make().ca_der])


def test_an_answer_without_certificates_is_not_taken() -> None:
    with pytest.raises(ValueError, match="no certificate"):
        issued_files(new_key(), [], [])


def test_a_good_certificate_is_taken_whole() -> None:
    issuer, key = Issuer.make(), new_key()
    chain = [_der(issuer.leaf(key.public_key(), [x509.DNSName("n1")])), issuer.ca_der]
    issued = issued_files(key, chain, [issuer.ca_der])
    assert (issued.key_pem, issued.chain_pem, issued.ca_pem) == (key_pem(key), certificate_pem(chain), issuer.ca_pem)


def _der(certificate: x509.Certificate) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.DER)
