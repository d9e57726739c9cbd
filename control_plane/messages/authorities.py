from __future__ import annotations

from collections.abc import Iterable

from cryptography import x509

from arw.v1 import authority_pb2 as pb
from control_plane.domain.authority import Authority, trusted
from control_plane.domain.ids import resource_name
from control_plane.domain.rotation import Held, Rotation
from control_plane.messages.times import time_to_proto

UNREADY_NAMED = 100


def rotation_to_proto(found: Rotation) -> pb.CertificateAuthorities:
    rows = [one.authority for one in found.held]
    dead = [row for row in rows if not row.is_trusted]
    return pb.CertificateAuthorities(
        authorities=_in_turn(found, (*trusted(rows), *dead)),
        unready_nodes=[resource_name("nodes", node) for node in found.unready[:UNREADY_NAMED]],
        unready_count=len(found.unready),
    )


def _in_turn(found: Rotation, rows: Iterable[Authority]) -> list[pb.CertificateAuthority]:
    return [_authority_to_proto(found.of(row.id)) for row in rows]


def _authority_to_proto(held: Held) -> pb.CertificateAuthority:
    row = held.authority
    return pb.CertificateAuthority(
        id=row.id,
        state=pb.AuthorityState.Value(f"AUTHORITY_STATE_{row.state.name}"),
        state_slug=row.state.value,
        state_label=row.state.label,
        create_time=time_to_proto(row.create_time),
        change_time=time_to_proto(row.change_time),
        expire_time=time_to_proto(x509.load_der_x509_certificate(row.certificate).not_valid_after_utc),
        nodes=len(held.nodes),
        operators=len(held.operators),
    )
