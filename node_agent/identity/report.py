"""What `arw-node-agent status` tells of the certificate, without asking anyone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from node_agent.domain.status import Problem
from node_agent.identity.credentials import date_problem
from node_agent.identity.files import Certificate, IdentityFiles
from wire.credentials import identity_of, serial_hex


@dataclass(frozen=True, slots=True)
class CertificateReport:
    uri: str
    serial: str
    not_before: datetime
    not_after: datetime
    renewed_waiting: bool
    """A renewed certificate lies ready, not yet used."""
    problem: Problem | None


def certificate_report(files: IdentityFiles, now: datetime) -> CertificateReport:
    current: Certificate = files.current()
    return CertificateReport(
        uri=identity_of(current.leaf).uri,
        serial=serial_hex(current.leaf),
        not_before=current.leaf.not_valid_before_utc,
        not_after=current.leaf.not_valid_after_utc,
        renewed_waiting=files.candidate() is not None,
        problem=date_problem(current, now),
    )
