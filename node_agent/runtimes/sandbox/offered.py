"""Which layers the next launch on this node gets, and why not: told with the inventory."""

from __future__ import annotations

from node_agent.domain.errors import LocalPolicyDenied
from node_agent.domain.sandbox import SandboxLayer
from node_agent.runtimes.sandbox import cgroup, confine, landlock
from node_agent.runtimes.sandbox.policy import LAYERS, Sandbox, SandboxPolicy, left_out, user_of


def layers_here(policy: SandboxPolicy) -> tuple[SandboxLayer, ...]:
    """As far as can be told without an engine."""
    try:
        wanted = policy.read()
    except LocalPolicyDenied as denied:
        return tuple(SandboxLayer(name, in_force=False, reason=denied.text) for name in LAYERS)
    reasons = {**dict.fromkeys(confine.ALWAYS, ""), **_reasons(wanted)}
    return tuple(SandboxLayer(name, not reasons[name], reasons[name]) for name in LAYERS)


def _reasons(wanted: Sandbox) -> dict[str, str]:
    known, missing = landlock.version()
    without = left_out(wanted)
    amounts = {cgroup.MEMORY: wanted.memory_limit_mib, cgroup.PIDS: wanted.process_limit}
    return {
        confine.OWN_USER: user_of(wanted)[1],
        **{name: confine.landlock_reason(name, known, missing, without) for name in landlock.SINCE},
        **{name: without.get(name) or _limit_reason(name, amount) for name, amount in amounts.items()},
    }


def _limit_reason(name: str, amount: int) -> str:
    if not amount:
        return cgroup.NO_LIMIT
    return "" if cgroup.offered(name) else cgroup.NOT_OFFERED
