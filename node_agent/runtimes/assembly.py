"""Puts the supervisor's parts together, for the agent and for the commands that work without one."""

from __future__ import annotations

from pathlib import Path

from node_agent.domain.timers import Timers
from node_agent.runtimes.engines import LLAMA_CPP
from node_agent.runtimes.equipment import Equipment
from node_agent.runtimes.kinds.adapter import Adapter
from node_agent.runtimes.kinds.llama_cpp import LlamaCpp
from node_agent.runtimes.logs import EngineLogs
from node_agent.runtimes.supervisor import LocalSupervisor
from node_agent.runtimes.trust import TrustList
from node_agent.use_cases.ports import Digests


def adapters() -> dict[str, Adapter]:
    return {LLAMA_CPP: LlamaCpp()}


def instances_directory(state_dir: Path) -> Path:
    return state_dir / "instances"


def trust_list(state_dir: Path, digests: Digests) -> TrustList:
    return TrustList(state_dir / "engines.json", digests)


def supervisor(state_dir: Path, digests: Digests, timers: Timers) -> LocalSupervisor:
    """`state_dir` is the node agent's own: it holds engines.json and instances/."""
    equipment = Equipment(adapters(), trust_list(state_dir, digests), digests, timers)
    return LocalSupervisor(instances_directory(state_dir), equipment)


def engine_logs(state_dir: Path) -> EngineLogs:
    return EngineLogs(instances_directory(state_dir))
