"""Which instance serves a name. Answers from memory: the declared runtimes are kept, their states live in the fleet."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping, Sequence

from control_plane.data_path.choosing import Choosing, slots_of
from control_plane.data_path.names import Names
from control_plane.data_path.request_claims import RequestClaims
from control_plane.data_path.tasks import abilities, can, is_reachable
from control_plane.data_path.waking import Waking
from control_plane.domain.claims.claim import Claim
from control_plane.domain.claims.hold import Hold
from control_plane.domain.claims.holds import hold_of
from control_plane.domain.ids import ProjectId, RuntimeId, instance_name
from control_plane.domain.instance import InstanceState
from control_plane.domain.node_view import NodeView
from control_plane.domain.pin import Pin
from control_plane.domain.project import Project
from control_plane.domain.runtime import SYSTEM_CLAIM, DesiredState, Runtime
from control_plane.domain.runtime_set import replica_ids
from control_plane.domain.view import RuntimeView
from control_plane.use_cases.mirror import Changed, Mirror
from control_plane.use_cases.ports import Fleet
from control_plane.use_cases.views import node_view, runtime_view
from gateway.ports import Route, ServedModel, Task
from gateway.refusals import (
    ClaimNotFound,
    ClaimSuspended,
    GatewayRefusal,
    Loading,
    ModelNotFound,
    NodeOffline,
    NoEngine,
    NotServing,
    PinNotServing,
    WrongModel,
    WrongTask,
)

_LISTED = 20
_NONE_DECLARED = "No runtime is declared yet: arwctl runtime apply -f FILE."
_SOON_SECONDS = 2
_LATER_SECONDS = 10
_COMING = frozenset((InstanceState.PENDING, InstanceState.STARTING, InstanceState.RESTARTING, InstanceState.STOPPING))


class RouteTable:
    """A name is a runtime's id, else its display name, else a model's id. Of those that go by it, each has its turn.

    A runtime's id stands for its replicas too; a replica's own for that one alone.

    `projects`: as they are known now, for their pins.
    """

    def __init__(
        self,
        mirror: Mirror,
        fleet: Fleet,
        projects: Mapping[ProjectId, Project],
        claims: RequestClaims | None = None,
        waking: Waking | None = None,
    ) -> None:
        """`claims` None: nobody claims anything. `waking` None: nobody is asked for."""
        self._waking = waking or Waking(mirror, fleet)
        self._claims = claims
        self._runtimes = mirror.runtimes
        self._nodes = mirror.nodes
        self._fleet = fleet
        self._projects = projects
        self._titles = Names()
        self._models = Names()
        self._choosing = Choosing()
        mirror.on_change(self._changed)
        self._changed(Changed(runtimes=frozenset(mirror.runtimes)))

    def resolve(
        self,
        model: str,
        task: Task = Task.TEXT,
        project: str = "",
        avoid: Collection[str] = (),
        *,
        claim: str = "",
        body: bytes = b"",
    ) -> Route:
        if claim:
            return self._under(claim, model, task, project, avoid)
        named = [self._runtimes[runtime] for runtime in self._named(model)]
        if not named:
            raise self._unknown(model)
        views = [runtime_view(runtime, self._fleet) for runtime in named if can(runtime.spec, task)]
        if not views:
            raise self._cannot(model, task)
        owner = self._projects.get(ProjectId(project)) if project else None
        pin = owner.pin(model) if owner is not None else None
        serving = self._serving(views) if pin is None else self._held(views, pin, project)
        serving = [view for view in serving if _instance(view) not in avoid] if avoid else serving
        if not serving:
            raise NotServing(f"{model[:200]!r} serves nowhere else.", "Try again.", retry_after=_SOON_SECONDS)
        if self._claims is not None:
            serving = self._claims.open_to(project, serving)
        chosen = self._choosing.among(serving, views[0].runtime.id, project, body)
        hold = self._claims.take(project, chosen.runtime) if self._claims is not None and project else None
        return self._choosing.given(_route(chosen, hold))

    def left(self, route: Route) -> None:
        self._choosing.left(route)
        if self._claims is not None:
            self._claims.left(route.claim)

    def _under(self, name: str, model: str, task: Task, project: str, avoid: Collection[str]) -> Route:
        """To what the claim holds and nowhere else, whatever else goes by the model's name."""
        if self._claims is None:
            raise ClaimNotFound(f"There is no claim {name[:64]!r}.", "Send the request without a claim.")
        claim, remedy = self._claims.granted(name, project), "Send the request again: it may go elsewhere."
        if not self._is_for(claim, model):
            raise WrongModel(f"Claim {name} is not for {model[:200]!r}.", f"Ask for {claim.requirement.model_tag!r}.")
        held = claim.held
        runtime = self._runtimes.get(held.runtime) if held else None
        if held is None or runtime is None or runtime.node != held.node or hold_of(runtime, claim.id) != held.hold:
            raise ClaimSuspended(f"What claim {claim.id} held is gone.", remedy, retry_after=_SOON_SECONDS)
        if not can(runtime.spec, task):
            raise self._cannot(runtime.id, task)
        view = runtime_view(runtime, self._fleet)
        if not view.state.serves:
            raise self._why_none([view])
        if _instance(view) in avoid:
            raise NotServing(f"Claim {claim.id} holds nothing else.", "Try again.", retry_after=_SOON_SECONDS)
        return self._choosing.given(_route(view, held.hold))

    def _is_for(self, claim: Claim, model: str) -> bool:
        """By what it wants or takes instead, or by any name of what that means."""
        tags = {wanted.model_tag for wanted in claim.order.alternatives}
        if model in tags:
            return True
        meant = {claim.held.runtime if claim.held else "", *(found for tag in tags for found in self._named(tag))}
        return not meant.isdisjoint(self._named(model))

    def models(self) -> Sequence[ServedModel]:
        found: dict[RuntimeId, ServedModel] = {}
        for runtime in (self._runtimes[name] for name in sorted(self._runtimes)):
            head = self._runtimes.get(runtime.replica_of, runtime) if runtime.replica_of else runtime
            loaded = runtime_view(runtime, self._fleet).state.serves
            if (loaded or _is_on_call(runtime)) and is_reachable(runtime.spec):
                found.setdefault(head.id, _served(head, runtime.node or "", loaded=loaded))
        return [found[name] for name in sorted(found)]

    def _serving(self, views: Sequence[RuntimeView]) -> Sequence[RuntimeView]:
        """At least one; GatewayRefusal."""
        serving = [view for view in views if view.state.serves]
        if not serving:
            raise self._why_none(_coming_first(views))
        return serving

    def wake(self, runtime: str) -> None:
        self._waking.wake(RuntimeId(runtime))

    def _held(self, views: Sequence[RuntimeView], pin: Pin, project: str) -> Sequence[RuntimeView]:
        """Those of them that serve and that the pin holds to, at least one; GatewayRefusal."""
        fitting = [view for view in views if pin.combination.fits(view)]
        serving = [view for view in fitting if view.state.serves]
        if not serving and not pin.fallback:
            why = self._why_none(_coming_first(fitting)) if fitting else None
            raise why if isinstance(why, Loading) else _pinned(pin, project, why)
        return serving or self._serving(views)

    def _named(self, name: str) -> Sequence[RuntimeId]:
        row = self._runtimes.get(RuntimeId(name))
        if row is not None:
            replicas = (replica for replica in replica_ids(row.id, row.spec.replicas) if self._follows(replica, row))
            return [row.id, *replicas]
        return sorted(self._titles.named(name) or self._models.named(name))

    def _follows(self, replica: RuntimeId, head: Runtime) -> bool:
        row = self._runtimes.get(replica)
        return row is not None and row.replica_of == head.id

    def _changed(self, changed: Changed) -> None:
        for runtime in changed.runtimes:
            row = self._runtimes.get(runtime)
            self._titles.call(runtime, row.spec.display_name if row else "")
            self._models.call(runtime, row.spec.model if row else "")
            if row is None:
                self._choosing.forget(runtime)

    def _why_none(self, views: Sequence[RuntimeView]) -> GatewayRefusal:
        """Of the first: one that is about to serve, when there is one. Loading: a request may wait for one."""
        if (refusal := self._waking.refusal(views)) is not None:
            return refusal
        runtime = views[0].runtime
        wanted = runtime.desired_state is DesiredState.RUNNING
        node = self._nodes.get(runtime.node) if wanted and runtime.node else None
        away = node_view(node, self._fleet) if node else None
        return _unreached(runtime, away) if away and not away.liveness.online else _why_not(views[0])

    def _unknown(self, model: str) -> ModelNotFound:
        names = sorted(name for name, runtime in self._runtimes.items() if runtime.replica_of is None)
        there = f"There is: {', '.join(names[:_LISTED])}." if names else _NONE_DECLARED
        return ModelNotFound(f"No runtime or model is named {model[:200]!r}.", there, model=model[:200])

    def _cannot(self, model: str, task: Task) -> WrongTask:
        heads = (runtime for runtime in self._runtimes.values() if runtime.replica_of is None)
        able = sorted(runtime.id for runtime in heads if can(runtime.spec, task))
        there = f"These can: {', '.join(able[:_LISTED])}." if able else "No declared runtime can."
        kind = WrongTask if able else NoEngine
        return kind(f"{model[:200]!r} cannot {task.value}.", there, model=model[:200])


def _coming_first(views: Sequence[RuntimeView]) -> Sequence[RuntimeView]:
    """Then the others that are wanted."""
    return sorted(views, key=lambda view: (not _is_coming(view), view.runtime.desired_state is DesiredState.STOPPED))


def _is_coming(view: RuntimeView) -> bool:
    return view.state in _COMING and view.runtime.node is not None


def _is_on_call(runtime: Runtime) -> bool:
    return runtime.spec.residence.on_demand and runtime.desired_state is not DesiredState.STOPPED


def _instance(view: RuntimeView) -> str:
    assert view.instance is not None  # noqa: S101 - what serves was reported
    return instance_name(view.instance.node, view.runtime.id)


def _route(view: RuntimeView, hold: Hold | None) -> Route:
    """`hold` None: by the system's."""
    runtime, instance = view.runtime, view.instance
    assert instance is not None  # noqa: S101 - as above
    return Route(
        instance=_instance(view),
        node=instance.node,
        claim=hold.claim if hold else SYSTEM_CLAIM,
        fence=hold.fence if hold else runtime.fence,
        model_alias=runtime.id,
        tasks=abilities(runtime.spec),
        on_demand=runtime.spec.residence.on_demand,
        slots=slots_of(view),
    )


def _served(runtime: Runtime, node: str, *, loaded: bool) -> ServedModel:
    spec = runtime.spec
    return ServedModel(
        runtime.id,
        int(runtime.create_time.timestamp()),
        spec.model,
        node,
        tasks=abilities(spec),
        embeds=bool(spec.settings.embeddings),
        loaded=loaded,
    )


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


def _pinned(pin: Pin, project: str, why: GatewayRefusal | None) -> PinNotServing:
    """`why`: what keeps those that fit from serving; None when none fits."""
    said = f"Project {project} pins {pin.asked!r} to {pin.combination}, and no runtime with that serves."
    remove = f"Let others serve: arwctl project unpin {project} {shlex.quote(pin.asked)}"
    return PinNotServing(
        f"{said} {why.text}" if why else said,
        f"{why.remedy} {remove}" if why else remove,
        retry_after=why.retry_after if why else _LATER_SECONDS,
        project=project,
        pin=pin.asked,
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
