"""How long a control plane waits for what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Self

from control_plane.domain.errors import InvalidArgument

TIMERS_VARIABLE = "ARW_TIMERS"
NODE_CERTIFICATE_VARIABLE = "ARW_NODE_CERTIFICATE_SECONDS"
"""For drills: how long a node's certificate lives."""


@dataclass(frozen=True, slots=True)
class Timers:
    """docs/protocol.md gives the reasons."""

    heartbeat: timedelta = timedelta(seconds=10)
    resume_within: timedelta = timedelta(seconds=10)
    amnesty: timedelta = timedelta(seconds=15)
    tick: timedelta = timedelta(seconds=1)
    hello_within: timedelta = timedelta(seconds=5)
    ack_within: timedelta = timedelta(seconds=30)
    bookmark_every: timedelta = timedelta(seconds=60)
    full_report_every: timedelta = timedelta(seconds=10)
    refused_hold: timedelta = timedelta(seconds=10)
    place_every: timedelta = timedelta(seconds=10)
    rest: timedelta = timedelta(minutes=5)
    residence: timedelta = timedelta(seconds=10)
    manifests_every: timedelta = timedelta(seconds=2)
    replica_beat: timedelta = timedelta(seconds=1)
    replica_cut_off: timedelta = timedelta(seconds=10)
    replica_lost: timedelta = timedelta(seconds=3)
    replica_silent: timedelta = timedelta(seconds=10)
    upkeep_every: timedelta = timedelta(minutes=10)
    stop_grace: timedelta = timedelta(seconds=10)
    renew_within: timedelta = timedelta(minutes=5)
    node_certificate: timedelta = timedelta(hours=24)
    operator_certificate: timedelta = timedelta(days=90)
    server_certificate: timedelta = timedelta(days=7)

    @classmethod
    def chosen(cls, environment: Mapping[str, str]) -> Self:
        """The profile that the environment names; InvalidArgument for an unknown one."""
        profile = environment.get(TIMERS_VARIABLE, "")
        if profile not in ("", "test"):
            raise InvalidArgument(f"{TIMERS_VARIABLE}={profile!r} is no profile.", "Leave it unset, or say test.")
        timers = cls.second_long() if profile == "test" else cls()
        seconds = environment.get(NODE_CERTIFICATE_VARIABLE)
        return replace(timers, node_certificate=timedelta(seconds=float(seconds))) if seconds else timers

    @classmethod
    def second_long(cls) -> Self:
        """For tests: the same rules in a tenth of the time."""
        return cls(
            heartbeat=timedelta(seconds=1),
            resume_within=timedelta(seconds=1),
            amnesty=timedelta(seconds=1.5),
            tick=timedelta(seconds=0.1),
            hello_within=timedelta(seconds=1),
            ack_within=timedelta(seconds=3),
            bookmark_every=timedelta(seconds=6),
            full_report_every=timedelta(seconds=1),
            refused_hold=timedelta(seconds=1),
            place_every=timedelta(seconds=1),
            rest=timedelta(seconds=3),
            residence=timedelta(seconds=0.5),
            manifests_every=timedelta(seconds=0.2),
            replica_beat=timedelta(seconds=0.2),
            replica_cut_off=timedelta(seconds=1),
            replica_lost=timedelta(seconds=0.5),
            replica_silent=timedelta(seconds=2),
            stop_grace=timedelta(seconds=2),
            renew_within=timedelta(seconds=1),
        )
