from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from control_plane.domain.errors import InvalidArgument
from control_plane.domain.ids import RuntimeId
from control_plane.domain.manifest import MAX_RUNTIMES, ManifestForm, ManifestRuntime
from control_plane.domain.runtime import Runtime
from control_plane.use_cases.ports import ManifestWriter, Store, Transaction
from control_plane.use_cases.rows import runtime_of
from control_plane.use_cases.runtime_sets import check_declared


@dataclass(frozen=True, slots=True)
class ExportManifest:
    """Runtimes as a manifest which, applied, changes nothing; replicas go with their heads.

    NotFound; InvalidArgument for a replica, and for more than one manifest can hold.
    """

    store: Store
    writer: ManifestWriter

    async def __call__(self, runtimes: Sequence[RuntimeId], form: ManifestForm) -> bytes:
        """None named: all, in the order of their ids."""
        rows = await self.store.read(lambda tx: _rows(tx, runtimes))
        asked = sum(row.spec.replicas for row in rows)
        if asked > MAX_RUNTIMES:
            raise InvalidArgument(
                f"There are {asked} runtimes, and a manifest holds at most {MAX_RUNTIMES}.",
                "Name those that you want.",
            )
        return self.writer.written([ManifestRuntime(row.id, row.spec) for row in rows], form)


def _rows(tx: Transaction, runtimes: Sequence[RuntimeId]) -> Sequence[Runtime]:
    if not runtimes:
        return [row for row in tx.runtimes.all() if row.replica_of is None]
    rows = [runtime_of(tx, runtime) for runtime in dict.fromkeys(runtimes)]
    for row in rows:
        check_declared(row, "exported")
    return rows
