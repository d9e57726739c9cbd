"""Why the control plane does not let this node in: TLS says the same few words for every cause."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import grpc

from arw.v1 import enrollment_service_pb2, enrollment_service_pb2_grpc
from node_agent.control_link.convert import problem_from_proto
from node_agent.control_link.ports import Credentials
from node_agent.domain.offer import Offer
from node_agent.domain.status import Problem
from node_agent.identity.credentials import CLOCK_BEHIND
from wire.channel import secure_channel

TIMEOUT_S = 5.0
CLOCK_TOLERANCE = timedelta(minutes=5)

# What the TLS library says of a server's certificate, most telling first.
_DISTRUSTED = (
    (
        ("certificate has expired", "certificate is not yet valid"),
        "shows a certificate whose dates do not fit this machine's clock",
        "Compare both clocks; the control plane renews its certificate by itself. This node tries again by itself.",
    ),
    (
        ("CERTIFICATE_VERIFY_FAILED", "certificate signature failure"),
        "shows a certificate of another authority than the one this node joined",
        "Check the address. If the control plane was set up anew, run `arw-node-agent join --force` with its token.",
    ),
)


@dataclass(frozen=True, slots=True)
class Diagnosis:
    problem: Problem
    final: bool
    """Trying again will not help."""


async def diagnose(credentials: Credentials, offer: Offer, address: str, transport: str) -> Diagnosis:
    """Look at our own certificate's dates, then ask the enrolment port at `address`.

    `transport` is what the failed connection said.
    """
    own = credentials.problem()
    if own is not None:
        # A clock that is behind is set soon, mostly by the system itself.
        return Diagnosis(own, final=CLOCK_BEHIND not in own.metadata)
    try:
        answer = await ask(offer, address)
    except grpc.aio.AioRpcError as error:
        return Diagnosis(_unreachable(address, transport, error.details() or error.code().name), final=False)
    return _read(answer, transport)


async def ask(offer: Offer, address: str) -> enrollment_service_pb2.DiagnoseCredentialResponse:
    """What the enrolment port at `address` says of this certificate. AioRpcError when it says nothing."""
    root = grpc.ssl_channel_credentials(root_certificates=offer.ca_pem)
    async with secure_channel(address, root) as channel:
        stub = enrollment_service_pb2_grpc.EnrollmentServiceStub(channel)
        request = enrollment_service_pb2.DiagnoseCredentialRequest(certificate=offer.leaf_der)
        return await stub.DiagnoseCredential(request, timeout=TIMEOUT_S)


def _read(answer: enrollment_service_pb2.DiagnoseCredentialResponse, transport: str) -> Diagnosis:
    if answer.problem.reason:
        return Diagnosis(problem_from_proto(answer.problem), final=True)
    apart = abs(answer.server_time.ToDatetime(UTC) - datetime.now(UTC))
    if answer.HasField("server_time") and apart > CLOCK_TOLERANCE:
        minutes = str(int(apart.total_seconds() // 60))
        text = f"The clocks of this node and of the control plane are {minutes} minutes apart."
        problem = Problem("UNAVAILABLE", text, "Set the clock of the one that is wrong.", {"minutes": minutes})
        return Diagnosis(problem, final=False)
    text = f"The certificate is good, but the control plane's port did not answer: {transport}."
    return Diagnosis(Problem("UNAVAILABLE", text, "It may be starting; this node tries again by itself."), final=False)


def _unreachable(address: str, transport: str, details: str) -> Problem:
    heard = f"{transport} {details}"
    for words, what, remedy in _DISTRUSTED:
        if any(word in heard for word in words):
            return Problem("UNAVAILABLE", f"What answers at {address} {what}.", remedy, {"address": address})
    return Problem(
        "UNAVAILABLE",
        f"The control plane cannot be reached ({transport}), nor can its enrolment port {address} ({details}).",
        "Start it, or check the network; this node tries again by itself and keeps everything running.",
        {"address": address},
    )
