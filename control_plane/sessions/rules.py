"""The figures of the stream; docs/protocol.md explains them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

PROTOCOL_MIN = 1
PROTOCOL_MAX = 1
CAPABILITIES = (
    *("desired.delta/1", "logs.push/1", "relay.http1/1"),
    *("replicas.many/1", "instances.probe/1", "trust.bundle/1"),
)
DELTA = "desired.delta/1"
MANY_REPLICAS = "replicas.many/1"
"""Follows ReplicasChanged, and parks and sends logs where it is told, not only where its stream is."""
TRUST = "trust.bundle/1"
"""Takes another bundle of authorities while it is connected, and says which one it has."""
PROBES = "instances.probe/1"
"""Asks an engine how it is when it is told to."""

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
MAX_REVISION = 2**63 - 1
MAX_REPORTED = 10_000
"""Instances and names in one message of a node: a full report names everything that was ever placed there."""
MAX_TRUST_REPORTS = 100
"""In one stream."""
MAX_WORD = 200
"""Characters of an id that a node says of itself."""


@dataclass(frozen=True, slots=True)
class AdmissionRules:
    at_once: int = 64
    """Agents whose Hello is in work."""
    line: int = 1000
    """Those who wait for their turn."""
    patience: timedelta = timedelta(seconds=4)
    """How long one waits; an agent waits 10 s for its Welcome."""
    again_after: timedelta = timedelta(seconds=5)
    each: timedelta = timedelta(milliseconds=5)
    """Over so much time for each of them, those who were turned away come back."""


@dataclass(frozen=True, slots=True)
class SessionRules:
    admission: AdmissionRules = AdmissionRules()
    hello_within: timedelta = timedelta(seconds=5)
    ack_within: timedelta = timedelta(seconds=30)
    bookmark_every: timedelta = timedelta(seconds=60)
    full_report_every: timedelta = timedelta(seconds=10)
    """Least time between two requests for a full report, and how long the first one is waited for."""
    refused_hold: timedelta = timedelta(seconds=10)
    """A set of nothing but resources that the node just refused waits this long."""
    close_within: timedelta = timedelta(seconds=1)
    """A stream that was told to end and does not, because its peer never reads, is cut after this."""
    retry_after: timedelta = timedelta(seconds=5)
    inventories_at_once: int = 5
    """So many InventoryReports are taken in as they come, then one each `inventory_every`, the newest."""
    inventory_every: timedelta = timedelta(seconds=2)
    inventory_flood: int = 200
    """So many at once, or within each `inventory_every`, end the stream."""
    max_unacked_batches: int = 2
    max_batch_resources: int = 256
    max_batch_bytes: int = 512 * 1024
