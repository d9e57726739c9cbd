"""What one connection shows the control plane."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Offer:
    certificate_pem: bytes = field(repr=False)
    key_pem: bytes = field(repr=False)
    ca_pem: bytes = field(repr=False)
    leaf_der: bytes = field(repr=False)
    candidate: bool = False
    """A renewed certificate that the control plane has not seen in use yet."""
