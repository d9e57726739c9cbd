"""Which layers the next launch on this node gets, and why not: told with the inventory."""

from __future__ import annotations

from node_agent.domain.limits import Limits
from node_agent.domain.sandbox import SandboxLayer
from node_agent.runtimes.sandbox import cgroup, confine, landlock
from node_agent.runtimes.sandbox.layers import LAYERS, left_out
from node_agent.runtimes.sandbox.user import user_of


def layers_here(limits: Limits) -> tuple[SandboxLayer, ...]:
    """As far as can be told without an engine."""
    if limits.unreadable:
        why = f"{limits.file} cannot be followed, so nothing is started: {limits.unreadable}"
        return tuple(SandboxLayer(name, in_force=False, reason=why) for name in LAYERS)
    reasons = {**dict.fromkeys(confine.ALWAYS, ""), **_reasons(limits)}
    return tuple(SandboxLayer(name, not reasons[name], reasons[name]) for name in LAYERS)


def _reasons(limits: Limits) -> dict[str, str]:
    known, missing = landlock.version()
    without = left_out(limits.sandbox)
    amounts = {cgroup.MEMORY: limits.memory_per_runtime_bytes, cgroup.PIDS: limits.sandbox.process_limit}
    return {
        confine.OWN_USER: user_of(limits.sandbox)[1],
        **{name: confine.landlock_reason(name, known, missing, without) for name in landlock.SINCE},
        **{name: without.get(name) or _limit_reason(name, amount) for name, amount in amounts.items()},
    }


def _limit_reason(name: str, amount: int | None) -> str:
    if not amount:
        return cgroup.NO_LIMIT[name]
    return "" if cgroup.offered(name) else cgroup.NOT_OFFERED
