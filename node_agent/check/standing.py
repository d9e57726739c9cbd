"""Who this machine is to its control plane, and whether that can be reached. Joins nothing and changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime

import grpc

from node_agent.check.finding import Finding, Level
from node_agent.control_link.convert import problem_from_proto
from node_agent.control_link.diagnosis import CLOCK_TOLERANCE, TIMEOUT_S, ask
from node_agent.domain.errors import NotJoined
from node_agent.identity.credentials import NodeCredentials
from node_agent.identity.files import IdentityFiles, NodeIdentity
from node_agent.identity.relocation import copied
from node_agent.identity.report import certificate_report
from node_agent.running_agent import recorded
from node_agent.settings import StateDirectory

_IDENTITY, _CONTROL_PLANE = "identity", "control plane"


async def standing(state: StateDirectory, now: datetime) -> AsyncIterator[Finding]:
    files = IdentityFiles(state.path)
    try:
        identity = files.identity()
    except NotJoined as refusal:
        yield Finding(_IDENTITY, Level.WRONG, refusal.text, refusal.remedy)
        return
    for finding in _of_identity(files, identity, now):
        yield finding
    agent = recorded(state)
    if agent is None:
        yield Finding("agent", Level.NOTE, "does not run", "Start it: arw-node-agent run, or install it as a service.")
    else:
        yield Finding("agent", Level.OK, f"runs, pid {agent.pid}")
    yield await _port(identity.grpc_address)
    async for finding in _asked(files, identity, now):
        yield finding


def _of_identity(files: IdentityFiles, identity: NodeIdentity, now: datetime) -> Iterator[Finding]:
    yield Finding(_IDENTITY, Level.OK, f"node {identity.node} of trust domain {identity.trust_domain}")
    elsewhere = copied(files, identity)
    if elsewhere is not None:
        yield Finding(_IDENTITY, Level.WRONG, elsewhere.text, elsewhere.remedy)
    report = certificate_report(files, now)
    if report.problem is not None:
        yield Finding("certificate", Level.WRONG, report.problem.text, report.problem.remedy)
    else:
        yield Finding("certificate", Level.OK, f"{report.uri}, until {report.not_after:%Y-%m-%d %H:%M} UTC")


async def _port(address: str) -> Finding:
    host, _, port = address.rpartition(":")
    try:
        async with asyncio.timeout(TIMEOUT_S):
            _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    except (OSError, TimeoutError) as error:
        why = str(error) or f"no answer within {TIMEOUT_S:g} s"
        text = f"its port {address} cannot be reached: {why}"
        return Finding(_CONTROL_PLANE, Level.WRONG, text, "Start the control plane, or look at firewalls in between.")
    writer.close()
    await writer.wait_closed()
    return Finding(_CONTROL_PLANE, Level.OK, f"takes connections at {address}")


async def _asked(files: IdentityFiles, identity: NodeIdentity, now: datetime) -> AsyncIterator[Finding]:
    """What the enrolment port says of this node's certificate, and the time there."""
    try:
        answer = await ask(NodeCredentials(files, lambda: now).offer(), identity.enrollment_address)
    except grpc.aio.AioRpcError as error:
        text = f"its enrolment port {identity.enrollment_address} does not answer: {error.details()}"
        remedy = "Start the control plane, or look at firewalls; it is needed to say why a certificate is refused."
        yield Finding(_CONTROL_PLANE, Level.NOTE, text, remedy)
        return
    if answer.problem.reason:
        problem = problem_from_proto(answer.problem)
        yield Finding(_CONTROL_PLANE, Level.WRONG, problem.text, problem.remedy)
    else:
        yield Finding(_CONTROL_PLANE, Level.OK, "knows this node's certificate and takes it")
    apart = (datetime.now(UTC) - answer.server_time.ToDatetime(UTC)).total_seconds()
    text = f"{abs(apart):.1f} s {'ahead of' if apart > 0 else 'behind'} the control plane's"
    if abs(apart) > CLOCK_TOLERANCE.total_seconds():
        yield Finding("clock", Level.WRONG, text, "Set the clock of the one that is wrong.")
    else:
        yield Finding("clock", Level.OK, text)
