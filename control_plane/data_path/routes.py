"""Which instance serves a name. Answers from memory: the declared runtimes are kept, their states live in the fleet."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import count

from control_plane.data_path.tasks import can, is_reachable
from control_plane.domain.ids import RuntimeId, instance_name
from control_plane.domain.instance import InstanceState
from control_plane.domain.node_view import NodeView
from control_plane.domain.runtime import SYSTEM_CLAIM, DesiredState, Runtime
from control_plane.domain.view import RuntimeView
from control_plane.use_cases.mirror import Changed, Mirror
from control_plane.use_cases.ports import Fleet
from control_plane.use_cases.views import node_view, runtime_view
from gateway.ports import Route, ServedModel, Task
from gateway.refusals import GatewayRefusal, ModelNotFound, NodeOffline, NotServing, WrongTask

_LISTED = 20
_NONE_DECLARED = "No runtime is declared yet: arwctl runtime apply -f FILE."
_SOON_SECONDS = 2
_LATER_SECONDS = 10
_COMING = frozenset((InstanceState.PENDING, InstanceState.STARTING, InstanceState.RESTARTING, InstanceState.STOPPING))


class RouteTable:
    """A name is a runtime's id, else its display name, else a model's id."""

    def __init__(self, mirror: Mirror, fleet: Fleet) -> None:
        self._runtimes = mirror.runtimes
        self._nodes = mirror.nodes
        self._fleet = fleet
        self._titles = _Names()
        self._models = _Names()
        self._turn = count()
        mirror.on_change(self._changed)

    def resolve(self, model: str, task: Task = Task.TEXT) -> Route:
        named = [self._runtimes[runtime] for runtime in self._named(model)]
        if not named:
            raise self._unknown(model)
        views = [runtime_view(runtime, self._fleet) for runtime in named if can(runtime.spec, task)]
        if not views:
            raise self._cannot(model, task)
        serving = [view for view in views if view.state.serves]
        if not serving:
            raise self._why_none([view for view in views if view.state in _COMING] or views)
        return _route(serving[next(self._turn) % len(serving)])

    def models(self) -> Sequence[ServedModel]:
        views = (runtime_view(self._runtimes[name], self._fleet) for name in sorted(self._runtimes))
        return [_served(view.runtime) for view in views if view.state.serves and is_reachable(view.runtime.spec)]

    def _named(self, name: str) -> Sequence[RuntimeId]:
        if name in self._runtimes:
            return [RuntimeId(name)]
        return sorted(self._titles.named(name) or self._models.named(name))

    def _changed(self, changed: Changed) -> None:
        for runtime in changed.runtimes:
            row = self._runtimes.get(runtime)
            self._titles.call(runtime, row.spec.display_name if row else "")
            self._models.call(runtime, row.spec.model if row else "")

    def _why_none(self, views: Sequence[RuntimeView]) -> GatewayRefusal:
        """Of the first: one that is about to serve, when there is one."""
        runtime = views[0].runtime
        wanted = runtime.desired_state is DesiredState.RUNNING
        node = self._nodes.get(runtime.node) if wanted and runtime.node else None
        away = node_view(node, self._fleet) if node else None
        return _unreached(runtime, away) if away and not away.liveness.online else _why_not(views[0])

    def _unknown(self, model: str) -> ModelNotFound:
        names = sorted(self._runtimes)
        there = f"There is: {', '.join(names[:_LISTED])}." if names else _NONE_DECLARED
        return ModelNotFound(f"No runtime or model is named {model[:200]!r}.", there, model=model[:200])

    def _cannot(self, model: str, task: Task) -> WrongTask:
        able = sorted(name for name, runtime in self._runtimes.items() if can(runtime.spec, task))
        there = f"These can: {', '.join(able[:_LISTED])}." if able else "No declared runtime can."
        return WrongTask(f"{model[:200]!r} cannot {task.value}.", there, model=model[:200])


class _Names:
    """Which runtimes go by a name that several may share."""

    def __init__(self) -> None:
        self._name: dict[RuntimeId, str] = {}
        self._named: dict[str, set[RuntimeId]] = {}

    def call(self, runtime: RuntimeId, name: str) -> None:
        """It has this one name from now on; an empty one is none."""
        before = self._name.pop(runtime, "")
        if before:
            self._named[before].discard(runtime)
        if name:
            self._name[runtime] = name
            self._named.setdefault(name, set()).add(runtime)

    def named(self, name: str) -> Collection[RuntimeId]:
        return self._named.get(name, ())


def _route(view: RuntimeView) -> Route:
    runtime, instance = view.runtime, view.instance
    assert instance is not None  # noqa: S101 - what serves was reported
    return Route(
        instance=instance_name(instance.node, runtime.id),
        node=instance.node,
        claim=SYSTEM_CLAIM,
        fence=runtime.fence,
        model_alias=runtime.id,
    )


def _served(runtime: Runtime) -> ServedModel:
    return ServedModel(runtime.id, int(runtime.create_time.timestamp()), runtime.spec.model, runtime.node or "")


def _unreached(runtime: Runtime, away: NodeView) -> GatewayRefusal:
    """After a start of the control plane a node has its time to come back before it counts as offline."""
    node, contact = away.node.id, away.last_contact
    if away.liveness.offline_since is None:
        text = f"{runtime.id} waits for node {node}, which has not come back since the control plane started."
        return NotServing(text, "Try again in a moment.", retry_after=_SOON_SECONDS)
    since = f" since {contact:%Y-%m-%dT%H:%M:%SZ}" if contact else ""
    return NodeOffline(
        f"Node {node} is offline{since}, so {runtime.id} cannot be reached.",
        f"Bring the node back: arw-node-agent run on that machine. See arwctl nodes show {node}.",
        retry_after=_LATER_SECONDS,
        node=node,
    )


def _why_not(view: RuntimeView) -> GatewayRefusal:
    """In the order in which a person would look: wanted, placed, starting, broken."""
    runtime = view.runtime
    if runtime.desired_state is DesiredState.STOPPED:
        return NotServing(
            f"{runtime.id} is shut down.", f"Start it: arwctl runtime restore {runtime.id}.", retry_after=None
        )
    if runtime.node is None:
        problem = runtime.placement_problem
        text = problem.text if problem else f"{runtime.id} waits for a place."
        return NotServing(text, problem.remedy if problem else "Try again.", retry_after=_LATER_SECONDS)
    if view.state in _COMING:
        return NotServing(f"{runtime.id} is {view.state}.", "Try again in a moment.", retry_after=_SOON_SECONDS)
    remedy = f"Ask why: arwctl runtime explain {runtime.id}."
    return NotServing(f"{runtime.id} is {view.state}: {view.summary}.", remedy, retry_after=_LATER_SECONDS)
