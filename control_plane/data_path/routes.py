"""Which instance serves a name. Answers from memory: the declared runtimes are kept, their states live in the fleet."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import count

from control_plane.domain.ids import instance_name
from control_plane.domain.instance import InstanceState
from control_plane.domain.runtime import SYSTEM_CLAIM, DesiredState, Runtime
from control_plane.domain.view import RuntimeView
from control_plane.use_cases.ports import Fleet
from control_plane.use_cases.views import runtime_view
from gateway.ports import Route, ServedModel
from gateway.refusals import GatewayRefusal, ModelNotFound, NotServing

_LISTED = 20
_SOON_SECONDS = 2
_LATER_SECONDS = 10
_COMING = frozenset((InstanceState.PENDING, InstanceState.STARTING, InstanceState.RESTARTING, InstanceState.STOPPING))


class RouteTable:
    """A name is a runtime's id, else its display name, else a model's id."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._runtimes: tuple[Runtime, ...] = ()
        self._named: dict[str, tuple[Runtime, ...]] = {}
        self._turn = count()

    def replace(self, runtimes: Iterable[Runtime]) -> None:
        """The declared runtimes changed."""
        self._runtimes = tuple(sorted(runtimes, key=lambda runtime: runtime.id))
        named: dict[str, tuple[Runtime, ...]] = {}
        for names in ("model", "display_name"):
            found: dict[str, list[Runtime]] = {}
            for runtime in self._runtimes:
                found.setdefault(getattr(runtime.spec, names), []).append(runtime)
            named.update({name: tuple(group) for name, group in found.items() if name})
        named.update({runtime.id: (runtime,) for runtime in self._runtimes})
        self._named = named

    def resolve(self, model: str) -> Route:
        views = [runtime_view(runtime, self._fleet) for runtime in self._named.get(model, ())]
        if not views:
            raise self._unknown(model)
        serving = [view for view in views if view.state.serves]
        if not serving:
            raise _why_not(views[0])
        return _route(serving[next(self._turn) % len(serving)])

    def models(self) -> Sequence[ServedModel]:
        views = (runtime_view(runtime, self._fleet) for runtime in self._runtimes)
        return [_served(view.runtime) for view in views if view.state.serves]

    def _unknown(self, model: str) -> ModelNotFound:
        names = [runtime.id for runtime in self._runtimes]
        there = f"There is: {', '.join(names[:_LISTED])}." if names else "No runtime is declared yet: use arwctl apply."
        return ModelNotFound(f"No runtime or model is named {model[:200]!r}.", there, model=model[:200])


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
