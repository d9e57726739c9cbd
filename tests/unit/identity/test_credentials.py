from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from node_agent.identity.credentials import NodeCredentials
from node_agent.identity.files import IdentityFiles
from node_agent.identity.report import certificate_report
from tests.fakes.certificates import Issuer


@pytest.fixture
def credentials(files: IdentityFiles) -> NodeCredentials:
    return NodeCredentials(files, lambda: datetime.now(UTC))


def test_a_renewed_certificate_is_tried_first_and_kept_once_accepted(
    files: IdentityFiles, issuer: Issuer, credentials: NodeCredentials
) -> None:
    files.write_candidate(*issuer.node("n1"), issuer.ca_pem)
    offer = credentials.offer()
    assert offer.candidate
    credentials.accepted(offer)
    assert files.current().chain_pem == offer.certificate_pem
    assert not credentials.offer().candidate


def test_after_a_failed_attempt_the_other_certificate_is_tried(
    files: IdentityFiles, issuer: Issuer, credentials: NodeCredentials
) -> None:
    files.write_candidate(*issuer.node("n1"), issuer.ca_pem)
    shown = []
    for _ in range(4):
        offer = credentials.offer()
        shown.append(offer.candidate)
        credentials.failed(offer)
    assert shown == [True, False, True, False]


def test_a_refused_candidate_is_dropped_and_the_old_one_is_left(
    files: IdentityFiles, issuer: Issuer, credentials: NodeCredentials
) -> None:
    files.write_candidate(*issuer.node("n1"), issuer.ca_pem)
    assert credentials.refused(credentials.offer())
    assert files.candidate() is None
    assert not credentials.refused(credentials.offer())


def test_a_certificate_does_not_print_its_key(credentials: NodeCredentials) -> None:
    assert "PRIVATE" not in repr(credentials.offer())


def test_good_dates_are_no_problem(credentials: NodeCredentials) -> None:
    assert credentials.problem() is None


def test_an_expired_certificate_says_since_when_and_what_to_do(files: IdentityFiles) -> None:
    problem = NodeCredentials(files, lambda: datetime.now(UTC) + timedelta(days=2)).problem()
    assert problem is not None
    assert problem.reason == "CERTIFICATE_EXPIRED"
    assert "join --force" in problem.remedy


def test_a_clock_that_is_behind_is_named(files: IdentityFiles) -> None:
    problem = NodeCredentials(files, lambda: datetime.now(UTC) - timedelta(days=2)).problem()
    assert problem is not None
    assert "clock" in problem.remedy


def test_the_report_names_whom_the_certificate_speaks_for(files: IdentityFiles, issuer: Issuer) -> None:
    report = certificate_report(files, datetime.now(UTC))
    assert report.uri == "arw://td/nodes/n1"
    assert not report.renewed_waiting
    files.write_candidate(*issuer.node("n1"), issuer.ca_pem)
    assert certificate_report(files, datetime.now(UTC)).renewed_waiting
