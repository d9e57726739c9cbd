"""What an operator would look at, one finding a line. Looks, and changes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from arw_client import ArwError, Client, Context, display_id
from arw_client import messages as m
from arwctl.output import when
from arwctl.plain import one_line
from arwctl.rotation import next_step

CERTIFICATE_ENDS_SOON = timedelta(days=14)
NODE_CERTIFICATE_ENDS_SOON = timedelta(hours=4)
"""Of 24 hours; an agent renews after 16, so below it something keeps it from that."""
CLOCKS_APART = timedelta(seconds=30)


class Grade(StrEnum):
    OK = "ok"
    WARN = "warn"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    check: str
    grade: Grade
    text: str
    remedy: str = ""


def refused(check: str, error: ArwError) -> Finding:
    return Finding(check, Grade.ERROR, one_line(error.text), one_line(error.remedy))


async def of_control_plane(client: Client, own_version: str) -> list[Finding]:
    """ArwError when it does not answer."""
    asked = datetime.now(UTC)
    supervisor = await client.state.supervisor()
    answered = datetime.now(UTC)
    nodes = [node async for node in client.nodes.each()]
    runtimes = [runtime async for runtime in client.runtimes.each()]
    return [
        Finding("control plane", Grade.OK, f"answers; pid {supervisor.control_plane_pid}"),
        _version("control plane", supervisor.version, own_version),
        *_clock(supervisor, asked, answered),
        *(finding for node in nodes for finding in of_node(node, supervisor.version, answered)),
        *(finding for runtime in runtimes for finding in of_runtime(runtime)),
        *of_budgets(supervisor.runtimes),
        *await _watchers(client),
        *await _rotation(client),
        *_well(nodes, runtimes),
    ]


def _version(whose: str, found: str, wanted: str) -> Finding:
    if found == wanted:
        return Finding("version", Grade.OK, f"{whose}: {found}")
    text = f"{whose} is {one_line(found) or 'of no known version'}, and this program {wanted}"
    return Finding("version", Grade.WARN, text, "Upgrade the older of the two.")


def _clock(supervisor: m.SupervisorSnapshot, asked: datetime, answered: datetime) -> Iterator[Finding]:
    """Between this machine and the control plane's; nodes tell no time."""
    theirs = supervisor.update_time
    if theirs is None:
        return
    apart = max(asked - theirs, theirs - answered, timedelta())
    text = f"{apart.total_seconds():.0f} s between this machine and the control plane"
    if apart <= CLOCKS_APART:
        yield Finding("clock", Grade.OK, text)
    else:
        yield Finding("clock", Grade.WARN, text, "Let both machines set their clocks by the network (NTP).")


def of_operator(context: Context, now: datetime) -> Finding:
    from cryptography import x509  # noqa: PLC0415 - few commands need it

    end = x509.load_pem_x509_certificate(context.certificate_pem.encode()).not_valid_after_utc
    text = f"yours ends {end:%Y-%m-%d %H:%M} UTC"
    if end - now > CERTIFICATE_ENDS_SOON:
        return Finding("certificate", Grade.OK, text)
    remedy = "Run `arwctl up`: it writes a new context file."
    return Finding("certificate", Grade.ERROR if end < now else Grade.WARN, text, remedy)


def of_node(node: m.Node, version: str, now: datetime) -> Iterator[Finding]:
    """Nothing, when all is well with it."""
    name, state = display_id(node.name), _state(node)
    if state:
        yield state
    if node.state is not m.NodeState.ONLINE:
        return
    if node.agent_version != version:
        text = f"{name} runs agent {one_line(node.agent_version)}, the control plane is {version}"
        yield Finding("version", Grade.WARN, text, f"Upgrade ARW on {name}; its models run on meanwhile.")
    end = node.certificate_expire_time
    if end and end - now < NODE_CERTIFICATE_ENDS_SOON:
        text = f"that of {name} ends {when(end)}, and its agent has not renewed it"
        yield Finding("certificate", Grade.WARN, text, f"See the log of the agent on {name}.")
    for problem in node.problems:
        yield Finding("node", Grade.WARN, f"{name}: {one_line(problem.text)}", one_line(problem.remedy))
    if node.held_removals:
        text = f"{name} holds back {len(node.held_removals)} removals"
        remedy = f"To keep what runs, declare it again; to stop it: arwctl nodes allow-removals {name}"
        yield Finding("node", Grade.WARN, text, remedy)


def _state(node: m.Node) -> Finding | None:
    name = display_id(node.name)
    match node.state:
        case m.NodeState.OFFLINE:
            text = f"{name} is offline; last heard of {when(node.last_contact_time)}"
            return Finding(
                "node", Grade.ERROR, text, f"On {name}: arw-node-agent status; for good: arwctl nodes revoke {name}"
            )
        case m.NodeState.QUARANTINED:
            text = f"{name} is quarantined: two agents used its identity"
            return Finding("node", Grade.ERROR, text, f"Stop the copy, then: arwctl nodes approve {name}")
        case m.NodeState.WAITING_FOR_APPROVAL:
            return Finding("node", Grade.WARN, f"{name} waits for approval", f"arwctl nodes approve {name}")
        case _:
            return None


def of_runtime(runtime: m.Runtime) -> Iterator[Finding]:
    """Nothing, when all is well with it."""
    instance, name = runtime.instance, runtime.id
    if instance and instance.state == m.InstanceState.ERROR:
        problem = instance.problem or m.Problem(text=instance.summary)
        remedy = one_line(problem.remedy) or f"See: arwctl runtime explain {name}"
        yield Finding("runtime", Grade.ERROR, f"{name}: {one_line(problem.text)}", remedy)
    elif instance and instance.state == m.InstanceState.DEGRADED:
        yield Finding(
            "runtime", Grade.WARN, f"{name}: {one_line(instance.summary)}", f"See: arwctl runtime explain {name}"
        )
    elif instance is None and runtime.placement_problem:
        problem = runtime.placement_problem
        yield Finding("runtime", Grade.WARN, f"{name} has no place: {one_line(problem.text)}", one_line(problem.remedy))
    if runtime.stuck:
        problem = runtime.stuck
        yield Finding("runtime", Grade.WARN, f"{name}: {one_line(problem.text)}", one_line(problem.remedy))


def of_budgets(runtimes: Sequence[m.SupervisorRuntime]) -> Iterator[Finding]:
    for each in runtimes:
        budget = each.status.restart_budget if each.status else None
        if budget and budget.max_restarts and not budget.remaining:
            name = each.descriptor.id if each.descriptor else ""
            text = f"{name} has used its {budget.max_restarts} restarts"
            yield Finding(
                "runtime", Grade.WARN, text, f"Mend the cause, then: arwctl runtime restore {name} --reset-budget"
            )


async def _rotation(client: Client) -> list[Finding]:
    """One that was begun and not ended keeps a key trusted that nobody wants any more."""
    try:
        found = (await client.authorities.list_authorities(m.ListAuthoritiesRequest())).authorities
    except ArwError as error:
        if error.reason == "UNIMPLEMENTED":
            return []
        raise
    due = next_step(found or m.CertificateAuthorities())
    if due.step == "prepare":
        return []
    waits = f", and waits for {due.waits_for}" if due.waits_for else ""
    text = f"a rotation is under way: its next step is {due.step}{waits}"
    return [Finding("authority", Grade.WARN, text, "Go on with it: arwctl admin ca rotate")]


async def _watchers(client: Client) -> list[Finding]:
    """An older control plane does not know the call."""
    try:
        return list(of_watchers(await client.state.watchers()))
    except ArwError as error:
        return [refused("watcher", error)]


def of_watchers(found: m.Watchers) -> Iterator[Finding]:
    for watcher in found.watchers:
        if watcher.status == "ok":
            yield Finding("watcher", Grade.OK, f"{watcher.label}: {one_line(watcher.summary)}")
        else:
            text = f"{watcher.label}: {one_line(watcher.summary)}"
            yield Finding("watcher", Grade.WARN, text, one_line(watcher.last_error_remedy))


def _well(nodes: Sequence[m.Node], runtimes: Sequence[m.Runtime]) -> Iterator[Finding]:
    online = sum(node.state is m.NodeState.ONLINE for node in nodes)
    serving = sum(bool(each.instance and each.instance.state == m.InstanceState.READY) for each in runtimes)
    yield Finding("node", Grade.OK, f"{online} of {len(nodes)} online")
    yield Finding("runtime", Grade.OK, f"{serving} of {len(runtimes)} ready")
