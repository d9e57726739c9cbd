"""What is still to be written to one node."""

from __future__ import annotations

from arw.v1 import session_pb2 as pb

MOST = {"log_request": 16, "probe_instance": 256}
"""Of these kinds, none of which stands for another of its own, so many may wait."""
# Answers to heartbeats go before anything bulky.
_ORDER = ("welcome", "heartbeat_ack", "drain_notice", "replicas_changed", "trust_bundle", "report_full_state")


class Outbox:
    """One slot for each kind of message, latest wins. Batches queue, bounded by what may be unacknowledged.

    Each replica that wants parked connections has a slot of its own.
    """

    def __init__(self) -> None:
        self.epoch = 0
        self.finished = False
        self._seq = 0
        self._slots: dict[str, pb.ControlMessage] = {}
        # Lists: an empty deque holds 600 bytes, and there are two for each stream.
        self._parks: list[pb.ControlMessage] = []
        self._batches: list[pb.ControlMessage] = []
        self._requests: list[pb.ControlMessage] = []

    def put(self, message: pb.ControlMessage) -> bool:
        """False when there is no room: only what MOST names can meet that."""
        if self.finished:
            return False
        kind = message.WhichOneof("body") or ""
        if kind == "desired_batch":
            self._batches.append(message)
        elif kind == "park_connections":
            self._parks = [other for other in self._parks if _where(other) != _where(message)] + [message]
        elif kind not in MOST:
            self._slots[kind] = message
        elif sum(other.WhichOneof("body") == kind for other in self._requests) < MOST[kind]:
            self._requests.append(message)
        else:
            return False
        return True

    def finish(self, last: pb.ControlMessage | None) -> None:
        """Drop everything unsent; only `last`, when given, is still written."""
        if self.finished:
            return
        self.finished = True
        self._parks.clear()
        self._batches.clear()
        self._requests.clear()
        self._slots = {"welcome": last} if last is not None else {}

    def take(self) -> pb.ControlMessage | None:
        """The next message, numbered and with the session's epoch; None when there is nothing to write."""
        message = self._next()
        if message is not None:
            self._seq += 1
            message.seq, message.session_epoch = self._seq, self.epoch
        return message

    def _next(self) -> pb.ControlMessage | None:
        for kind in _ORDER:
            if kind in self._slots:
                return self._slots.pop(kind)
        for queue in (self._parks, self._batches, self._requests):
            if queue:
                return queue.pop(0)
        return None


def _where(park: pb.ControlMessage) -> str:
    return park.park_connections.relay_address
