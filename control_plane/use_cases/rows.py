"""Reading and writing whole rows, with the refusals and the bookkeeping that every change needs."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from control_plane.domain import etag
from control_plane.domain.claims.holds import next_fence
from control_plane.domain.desired import Placed
from control_plane.domain.errors import EtagMismatch, NotFound, SessionSuperseded
from control_plane.domain.ids import ModelId, NodeId, RuntimeId, TokenId, instance_name
from control_plane.domain.join_token import JoinToken
from control_plane.domain.model import Model
from control_plane.domain.node import Node
from control_plane.domain.placing.residents import asleep
from control_plane.domain.runtime import NO_MODEL, EngineSettings, Runtime
from control_plane.domain.tuning import tuned
from control_plane.use_cases.ports import Transaction


def runtime_of(tx: Transaction, runtime: RuntimeId) -> Runtime:
    row = tx.runtimes.get(runtime)
    if row is None:
        raise no_runtime(runtime)
    return row


def no_runtime(runtime: RuntimeId) -> NotFound:
    return NotFound(f"There is no runtime {runtime}.", "List the runtimes to see which there are.", runtime=runtime)


def model_of(tx: Transaction, model: ModelId) -> Model:
    row = tx.models.get(model)
    if row is None:
        raise NotFound(f"Model {model} is not registered.", "Register it: `arwctl model add FILE`.", model=model)
    return row


def node_of(tx: Transaction, node: NodeId) -> Node:
    row = tx.nodes.get(node)
    if row is None:
        raise NotFound(f"There is no node {node}.", "List the nodes to see which there are.", node=node)
    return row


def fenced(tx: Transaction, node: NodeId, epoch: int) -> Node:
    """The node, for a write that its session `epoch` causes. SessionSuperseded when that is not its newest."""
    row = tx.nodes.get(node)
    if row is None or row.session_epoch != epoch:
        raise superseded(node)
    return row


def superseded(node: NodeId) -> SessionSuperseded:
    return SessionSuperseded(
        f"A newer session of node {node} took over.",
        "If no second agent uses this node's data directory, nothing needs to be done.",
        node=node,
    )


def token_of(tx: Transaction, token: TokenId) -> JoinToken:
    row = tx.join_tokens.get(token)
    if row is None:
        raise NotFound(f"There is no join token {token}.", "List the tokens to see which there are.", token=token)
    return row


def match_etag(current: str, given: str) -> None:
    """An empty etag matches everything."""
    if given and given != current:
        raise EtagMismatch("It was changed since you read it.", "Read it again and repeat the change.", etag=current)


def save_runtime(tx: Transaction, runtime: Runtime, now: datetime) -> Runtime:
    """Write a changed runtime at this transaction's revision, and what its node must make of it."""
    revision = tx.revise("runtimes", runtime.id)
    sleep, fence = asleep(runtime, now), runtime.fence if runtime.revision else next_fence(runtime, revision)
    runtime = replace(runtime, revision=revision, update_time=now, etag=etag.of_runtime(runtime), sleep=sleep)
    runtime = replace(runtime, fence=fence, tuned=_tuned(tx, runtime))
    tx.runtimes.put(runtime)
    publish(tx, runtime)
    return runtime


def _tuned(tx: Transaction, runtime: Runtime) -> EngineSettings:
    """Chosen when it gets a place or another spec, and kept until then: a new core restarts no engine."""
    if runtime.spec.basis is None or runtime.node is None:
        return EngineSettings()
    before, node = tx.runtimes.get(runtime.id), tx.nodes.get(runtime.node)
    if node is None or (before is not None and (before.node, before.spec) == (runtime.node, runtime.spec)):
        return runtime.tuned
    return tuned(runtime.spec, tx.models.get(runtime.spec.model), node.inventory)


def save_holds(tx: Transaction, runtime: Runtime) -> Runtime:
    """Write who may use a runtime from now on: nothing that an operator declared changes by it."""
    runtime = replace(runtime, revision=tx.revise("runtimes", runtime.id))
    tx.runtimes.put(runtime)
    publish(tx, runtime)
    return runtime


def publish(tx: Transaction, runtime: Runtime) -> None:
    if runtime.node is not None:
        model = model_of(tx, runtime.spec.model) if runtime.spec.model != NO_MODEL else None
        content = Placed(runtime, model)
        tx.desired.put(runtime.node, instance_name(runtime.node, runtime.id), runtime.generation, content)


def save_node(tx: Transaction, node: Node) -> Node:
    """Write a node after a change of intent."""
    node = replace(node, etag=etag.of_node(node))
    tx.nodes.put(node)
    return node
