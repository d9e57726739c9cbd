"""Which certificate the next connection shows, and what its dates say."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime

import structlog

from node_agent.domain.offer import Offer
from node_agent.domain.status import Problem
from node_agent.domain.trust import TrustBundle
from node_agent.identity.authorities import store, stored_digest
from node_agent.identity.files import Certificate, IdentityFiles
from wire.credentials import issuer_id

CLOCK_BEHIND = "clock_behind"
"""Says of a problem by how much this machine's clock lies before the certificate."""

_log = structlog.get_logger()


class NodeCredentials:
    """Tries a renewed certificate first, falls back to the old one, and keeps the one that the control plane took."""

    def __init__(
        self, files: IdentityFiles, now: Callable[[], datetime], chance: Callable[[], float] = random.random
    ) -> None:
        self._files = files
        self._now = now
        self._chance = chance
        self._prefer_old = False
        self._tainted: frozenset[str] = frozenset()
        self._renew_at: datetime | None = None
        self._on_tainted: list[Callable[[], None]] = []

    def on_tainted(self, listener: Callable[[], None]) -> None:
        """Call `listener` when `renew_at` became sooner."""
        self._on_tainted.append(listener)

    @property
    def renew_at(self) -> datetime | None:
        """When to renew, because the authority of the certificate in use was tainted; None: it was not."""
        return self._renew_at if issuer_id(self._files.current().leaf) in self._tainted else None

    def trusted(self) -> bytes:
        return stored_digest(self._files)

    def trust(self, bundle: TrustBundle) -> None:
        try:
            store(self._files, bundle)
        except (OSError, ValueError) as error:
            _log.error("authorities_not_taken", cause=str(error))
            return
        _log.info("authorities_stored", authorities=len(bundle.certificates), tainted=bundle.tainted)
        self._taint(bundle)

    def _taint(self, bundle: TrustBundle) -> None:
        if self.renew_at is None:
            self._renew_at = self._now() + bundle.renew_within * self._chance()
        self._tainted = frozenset(bundle.tainted)
        if self.renew_at is not None:
            for listener in self._on_tainted:
                listener()

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
