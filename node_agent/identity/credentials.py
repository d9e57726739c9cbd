"""Which certificate the next connection shows, and what its dates say."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import structlog

from node_agent.domain.offer import Offer
from node_agent.domain.status import Problem
from node_agent.identity.files import Certificate, IdentityFiles

CLOCK_BEHIND = "clock_behind"
"""Says of a problem by how much this machine's clock lies before the certificate."""

_log = structlog.get_logger()


class NodeCredentials:
    """Tries a renewed certificate first, falls back to the old one, and keeps the one that the control plane took."""

    def __init__(self, files: IdentityFiles, now: Callable[[], datetime]) -> None:
        self._files = files
        self._now = now
        self._prefer_old = False

    def offer(self) -> Offer:
        candidate = None if self._prefer_old else self._files.candidate()
        chosen = candidate or self._files.current()
        return Offer(
            chosen.chain_pem, chosen.key_pem, self._files.ca_pem, chosen.leaf_der, candidate=candidate is not None
        )

    def accepted(self, offer: Offer) -> None:
        self._prefer_old = False
        if offer.candidate:
            self._files.promote()
            _log.info("certificate_in_use", expires=self._files.current().leaf.not_valid_after_utc.isoformat())

    def failed(self, offer: Offer) -> None:
        self._prefer_old = offer.candidate

    def refused(self, offer: Offer) -> bool:
        if not offer.candidate:
            return False
        self._files.drop_candidate()
        return True

    def problem(self) -> Problem | None:
        return date_problem(self._files.current(), self._now())


def date_problem(certificate: Certificate, now: datetime) -> Problem | None:
    """What a certificate's own dates say against it."""
    leaf = certificate.leaf
    if now >= leaf.not_valid_after_utc:
        return Problem(
            "CERTIFICATE_EXPIRED",
            f"This node's certificate expired at {leaf.not_valid_after_utc:%Y-%m-%d %H:%M:%S} UTC.",
            "Make a new token with `arwctl nodes token create` and run `arw-node-agent join --force`; "
            "what runs here goes on running.",
        )
    if now < leaf.not_valid_before_utc:
        return Problem(
            "CERTIFICATE_EXPIRED",
            f"This node's certificate counts only from {leaf.not_valid_before_utc:%Y-%m-%d %H:%M:%S} UTC; "
            f"this machine's clock says {now:%Y-%m-%d %H:%M:%S} UTC.",
            "Set this machine's clock.",
            {CLOCK_BEHIND: str(leaf.not_valid_before_utc - now)},
        )
    return None
