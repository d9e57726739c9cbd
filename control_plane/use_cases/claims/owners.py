from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from control_plane.domain.claims.claim import Claim, ClaimState
from control_plane.domain.claims.states import turned
from control_plane.domain.ids import ClaimId, ProjectId, resource_name
from control_plane.domain.problem import Problem
from control_plane.use_cases.claims.acquire_claim import NO_PROJECT
from control_plane.use_cases.claims.book import ClaimBook
from control_plane.use_cases.project_book import ProjectBook


class ClaimOwners:
    """Whose claims count: not those of a project that is disabled or gone. Only on the loop."""

    def __init__(self, book: ClaimBook, projects: ProjectBook) -> None:
        self._book = book
        self._projects = projects

    async def outcasts(self) -> Collection[ClaimId]:
        """Claims that are not over, of projects that count no more. StorageUnavailable."""
        await self._projects.look()
        out = {project for project in self._book.projects() if self._problem(project)}
        return [claim.id for claim in self._book.claims.values() if claim.project in out] if out else ()

    def ended(self, claim: Claim, now: datetime) -> Claim | None:
        """The claim after its project; None: that counts."""
        problem = self._problem(claim.project)
        return turned(claim, ClaimState.REVOKED, now, problem=problem) if problem else None

    def _problem(self, project: ProjectId) -> Problem | None:
        row, of = self._projects.projects.get(project), {"project": resource_name("projects", project)}
        if project == NO_PROJECT or (row is not None and not row.disabled):
            return None
        if row is None:
            return Problem("NOT_FOUND", f"Project {project} was deleted.", "Claim for another project.", of)
        enable = f"Enable it: `arwctl project update {project} --enable`, and claim anew."
        return Problem("PROJECT_DISABLED", f"Project {project} was disabled.", enable, of)
