"""What `arw-node-agent status` tells, from files alone: it works when the agent is dead."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from node_agent.control_link.link_record import LinkRecord, link_json, problem_json
from node_agent.control_link.ports import LinkState, LinkStatus
from node_agent.domain.status import Problem
from node_agent.identity.files import IdentityFiles, NodeIdentity
from node_agent.identity.relocation import copied
from node_agent.identity.report import CertificateReport, certificate_report
from node_agent.running_agent import recorded
from node_agent.runtimes.assembly import instances_directory
from node_agent.runtimes.directory import InstanceDirectory
from node_agent.runtimes.process import Process
from node_agent.settings import StateDirectory

_TALKING = frozenset({LinkState.SYNCING, LinkState.IN_SYNC, LinkState.HISTORY_CHANGED, LinkState.DRAINING})


@dataclass(frozen=True, slots=True)
class InstanceLine:
    name: str
    incarnation: int
    engine_pid: int | None
    """None: no process."""
    beside_pid: int | None = None
    """Of an engine that is to take its place, or that ends with what it has in hand; None: there is none."""


@dataclass(frozen=True, slots=True)
class StatusReport:
    identity: NodeIdentity
    problem: Problem | None
    """Why no agent would start in this directory."""
    agent_pid: int | None
    """None: no agent runs."""
    link: LinkStatus | None
    certificate: CertificateReport
    instances: tuple[InstanceLine, ...]
    now: datetime


def status_report(state: StateDirectory, now: datetime) -> StatusReport:
    """NotJoined when this machine has no identity."""
    files = IdentityFiles(state.path)
    identity = files.identity()
    agent = recorded(state)
    link = LinkRecord(state.link_record).read()
    lines = tuple(sorted(_instances(state), key=lambda line: line.name))
    refusal = copied(files, identity)
    problem = Problem.of(refusal) if refusal else None
    pid = agent.pid if agent else None
    return StatusReport(identity, problem, pid, link, certificate_report(files, now), lines, now)


def _instances(state: StateDirectory) -> Iterator[InstanceLine]:
    folder = instances_directory(state.path)
    for path in folder.iterdir() if folder.is_dir() else ():
        home = InstanceDirectory(path)
        if home.is_named():
            yield _instance(home)


def _instance(home: InstanceDirectory) -> InstanceLine:
    state = home.state()
    now, other = (home.berth(beside=beside) for beside in (state.beside, not state.beside))
    return InstanceLine(state.name, state.incarnation, _engine_pid(now), _engine_pid(other))


def _engine_pid(home: InstanceDirectory) -> int | None:
    run = home.run()
    process = Process.hold(run.engine_pid, run.engine_start_ticks) if run else None
    if process is None:
        return None
    process.release()
    return process.pid


def as_json(report: StatusReport) -> str:
    link, certificate = report.link, report.certificate
    told: dict[str, Any] = {
        "node": report.identity.node,
        "trust_domain": report.identity.trust_domain,
        "control_plane": report.identity.grpc_address,
        "problem": problem_json(report.problem),
        "agent": {"running": report.agent_pid is not None, "pid": report.agent_pid},
        "link": None if link is None else link_json(link),
        "certificate": {
            "uri": certificate.uri,
            "serial": certificate.serial,
            "not_before": certificate.not_before.isoformat(),
            "not_after": certificate.not_after.isoformat(),
            "renewed_waiting": certificate.renewed_waiting,
            "problem": problem_json(certificate.problem),
        },
        "instances": [
            {
                "name": line.name,
                "incarnation": line.incarnation,
                "engine_pid": line.engine_pid,
                "beside_pid": line.beside_pid,
            }
            for line in report.instances
        ],
    }
    return json.dumps(told, indent=2)


def as_text(report: StatusReport) -> str:
    lines = [f"Node         {report.identity.node} of {report.identity.grpc_address}", *_problem_lines(report.problem)]
    lines.append(f"Agent        {f'runs, pid {report.agent_pid}' if report.agent_pid else 'does not run'}")
    lines += _link_lines(report)
    lines += _certificate_lines(report)
    lines += [f"Instance     {_instance_line(line)}" for line in report.instances] or ["Instances    none"]
    return "\n".join(lines)


def _link_lines(report: StatusReport) -> list[str]:
    link = report.link
    if link is None:
        return ["Connection   never made"]
    state = link.state.value.replace("_", " ")
    was = "" if report.agent_pid else "was "
    talks = report.agent_pid and link.state in _TALKING
    contact = f", last contact {_ago(report.now - link.last_contact)}" if link.last_contact and not talks else ""
    return [f"Connection   {was}{state} for {_span(report.now - link.since)}{contact}", *_problem_lines(link.problem)]


def _certificate_lines(report: StatusReport) -> list[str]:
    certificate = report.certificate
    left = certificate.not_after - report.now
    text = f"good for {_span(left)}" if left > timedelta() else f"expired {_ago(-left)}"
    return [f"Certificate  {certificate.uri}, {text}", *_problem_lines(certificate.problem)]


def _problem_lines(problem: Problem | None) -> list[str]:
    if problem is None:
        return []
    return [f"             {text}" for text in (problem.text, problem.remedy) if text]


def _instance_line(line: InstanceLine) -> str:
    what = f"pid {line.engine_pid}" if line.engine_pid else "no process"
    beside = f", beside it pid {line.beside_pid}" if line.beside_pid else ""
    return f"{line.name}, start {line.incarnation}, {what}{beside}"


def _ago(span: timedelta) -> str:
    return f"{_span(span)} ago"


def _span(span: timedelta) -> str:
    seconds = max(0, int(span.total_seconds()))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
