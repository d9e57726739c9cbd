from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from control_plane.domain.declaration import Outcome, declared
from control_plane.domain.ids import ModelId, NodeId, RuntimeId
from control_plane.domain.manifest import Manifest, ManifestForm, ManifestRuntime
from control_plane.domain.manifest_plan import Action, PlannedModel, PlannedRuntime
from control_plane.domain.model import Model
from control_plane.domain.node import Node
from control_plane.domain.placing.candidates import Candidates
from control_plane.domain.placing.house import Assignment
from control_plane.domain.placing.placement import placing
from control_plane.domain.runtime import Runtime
from control_plane.domain.steps import Steps
from control_plane.use_cases.circumstances import Circumstances
from control_plane.use_cases.create_model import NewModel
from control_plane.use_cases.declare_runtimes import check_models, check_sets, heeds, undeclared
from control_plane.use_cases.ports import Clock, Fleet, ManifestReader, Store, Transaction
from control_plane.use_cases.runtime_sets import follows, members
from control_plane.use_cases.slices import in_slices
from control_plane.use_cases.views import NodeViews, strain_of

_ACTIONS = {
    Outcome.CREATED: Action.CREATE,
    Outcome.UPDATED: Action.CHANGE,
    Outcome.UNCHANGED: Action.NOTHING,
    Outcome.REMOVED: Action.REMOVE,
}


@dataclass(frozen=True, slots=True)
class Plan:
    runtimes: tuple[PlannedRuntime, ...]
    """In the manifest's order, each before its replicas; then what would be removed."""
    models: tuple[PlannedModel, ...]
    revision: int


@dataclass(frozen=True, slots=True)
class _Facts:
    """The state as it would be, before placement."""

    declared: Sequence[tuple[Runtime | None, Runtime, Outcome]]
    """Each as it is, and as it would be."""
    leaving: Sequence[Runtime]
    others: Sequence[Runtime]
    models: Mapping[ModelId, Model]
    brought: tuple[PlannedModel, ...]
    nodes: Mapping[NodeId, Node]
    revision: int


@dataclass(frozen=True, slots=True)
class PlanManifest:
    """Say what applying a manifest would do and where it would place each runtime. ManifestInvalid."""

    store: Store
    fleet: Fleet
    clock: Clock
    reader: ManifestReader
    circumstances: Circumstances

    async def __call__(
        self,
        content: bytes,
        form: ManifestForm,
        source: str,
        *,
        prune: bool = False,
        models: Sequence[NewModel] = (),
    ) -> Plan:
        """`models`: what the caller would register before it applies."""
        manifest = await asyncio.to_thread(self.reader.read, content, form, source)
        facts = await self.store.read(lambda tx: self._facts(tx, manifest, models, prune=prune))
        places = {assignment.runtime: assignment for assignment in await in_slices(self._placed(facts))}
        planned = [_planned(before, after, outcome, places) for before, after, outcome in facts.declared]
        removed = [PlannedRuntime(row.id, Action.REMOVE, row, None) for row in facts.leaving]
        return Plan((*planned, *removed), facts.brought, facts.revision)

    def _facts(self, tx: Transaction, manifest: Manifest, models: Sequence[NewModel], *, prune: bool) -> _Facts:
        check_models(tx, manifest, [model.id for model in models])
        pruned = [row for head in undeclared(tx, [manifest]) for row in members(tx, head)] if prune else []
        check_sets(tx, manifest, [row.id for row in pruned])
        found = [each for entry in manifest.runtimes for each in self._declared(tx, entry, manifest.source)]
        named = [each for each in found if each[-1] is not Outcome.REMOVED]
        leaving = [*pruned, *(after for _, after, outcome in found if outcome is Outcome.REMOVED)]
        gone = {row.id for row in leaving} | {after.id for _, after, _ in named}
        registered = {model.id: model for model in tx.models.all()}
        return _Facts(
            declared=named,
            leaving=leaving,
            others=[row for row in tx.runtimes.all() if row.id not in gone],
            models=registered | {model.id: _as_registered(model) for model in models},
            brought=tuple(PlannedModel(model.id, _on_model(registered.get(model.id), model)) for model in models),
            nodes={node.id: node for node in tx.nodes.all()},
            revision=tx.revision(),
        )

    def _declared(
        self, tx: Transaction, entry: ManifestRuntime, source: str
    ) -> Iterator[tuple[Runtime | None, Runtime, Outcome]]:
        before, now = tx.runtimes.get(entry.id), self.clock.now()
        head, outcome = declared(before, entry, source=source, uid="", now=now)
        yield before, head, outcome
        for each in follows(tx, before, head, now, heed=heeds(before, head)):
            yield each.before, each.after, each.outcome

    def _placed(self, facts: _Facts) -> Steps[list[Assignment]]:
        """As the placing loop would do it, of what would change; the rest stays where it is."""
        judged = [after for _, after, outcome in facts.declared if outcome is not Outcome.UNCHANGED]
        settled = [after for _, after, outcome in facts.declared if outcome is Outcome.UNCHANGED]
        placed = _by_node([*facts.others, *settled])
        load = {node: len(rows) for node, rows in placed.items()}

        def on(node: NodeId) -> Sequence[Runtime]:
            return placed.get(node, ())

        views = NodeViews(facts.nodes, self.fleet, lambda node: strain_of(on(node), self.fleet), self.circumstances)
        yield from Candidates(views).looked_at()
        situation = self.circumstances.situation(views.values())
        return (yield from placing(judged, facts.models, views, load, on, situation=situation))


def _by_node(runtimes: Iterable[Runtime]) -> dict[NodeId, list[Runtime]]:
    found: dict[NodeId, list[Runtime]] = {}
    for runtime in runtimes:
        if runtime.node is not None:
            found.setdefault(runtime.node, []).append(runtime)
    return found


def _planned(
    before: Runtime | None, after: Runtime, outcome: Outcome, places: Mapping[RuntimeId, Assignment]
) -> PlannedRuntime:
    place_ = places.get(after.id)
    node, problem = (place_.node, place_.problem) if place_ else (after.node, after.placement_problem)
    return PlannedRuntime(after.id, _ACTIONS[outcome], before, after, node, problem)


def _as_registered(model: NewModel) -> Model:
    return Model(model.id, "", "", model.path, model.sha256, model.size_bytes, model.format, None, model.projector)


def _on_model(before: Model | None, new: NewModel) -> Action:
    if before is None:
        return Action.CREATE
    known = (before.path, before.sha256, before.size_bytes, before.format, before.projector)
    same = known == (new.path, new.sha256, new.size_bytes, new.format, new.projector)
    return Action.NOTHING if same else Action.CHANGE
