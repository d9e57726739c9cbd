"""Writing claims together with what they hold, each in one transaction."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from control_plane.domain.claims.allocation import Grant
from control_plane.domain.claims.claim import Claim, ClaimState, Lease
from control_plane.domain.claims.holds import claims_of, settled, taken
from control_plane.domain.claims.lease import renewed
from control_plane.domain.claims.moves import reserved, still_fits
from control_plane.domain.errors import NotFound, NothingHeld
from control_plane.domain.ids import ClaimId, ProjectId, RuntimeId
from control_plane.use_cases.claims.announcements import claim_changed, claim_recovered, fallback_engaged
from control_plane.use_cases.ports import Transaction
from control_plane.use_cases.rows import runtime_of, save_holds


def claim_of(tx: Transaction, claim: ClaimId, project: ProjectId | None) -> Claim:
    """NotFound also for a claim of another project: names are no secrets, and tell nothing. None: of any."""
    row = tx.claims.get(claim)
    if row is None or project not in (None, row.project):
        raise no_claim(claim)
    return row


def no_claim(claim: ClaimId) -> NotFound:
    return NotFound(f"There is no claim {claim}.", "List the claims to see which there are.", claim=claim)


def is_over(claim: Claim) -> NothingHeld:
    why = f" {claim.problem.text}" if claim.problem else ""
    text = f"Claim {claim.id} is {claim.state.value}.{why}"
    return NothingHeld(text, "Claim anew, with another request id.", claim=claim.id, state=claim.state.value)


def put(tx: Transaction, before: Claim, after: Claim, now: datetime) -> Claim:
    """Write a claim in its next state, give up what it holds no more, and say so."""
    if after.held is None:
        _let_go(tx, before if after.state.over else replace(before, booked=None), now)
    if after.state.over:
        tx.claim_leases.delete(after.id)
    tx.claims.put(after)
    recovered = (before.state, after.state) == (ClaimState.SUSPENDED, ClaimState.GRANTED)
    tx.journal.append(claim_recovered(after, now) if recovered else claim_changed(after, now))
    return after


def reserve(tx: Transaction, claim: Claim, grant: Grant, applied: int, now: datetime) -> Claim | None:
    """Write the grant; None when what it gives changed since, and is no longer there for it.

    `applied`: the revision that the node of it has applied. Only its holder keeps a claim alive: its lease stays.
    """
    runtime = tx.runtimes.get(grant.offer.runtime.id)
    offer = still_fits(claim, grant.offer, runtime, applied, now) if runtime else None
    node = offer.runtime.node if offer else None
    if offer is None or node is None:
        return None
    _let_go(tx, replace(claim, booked=None), now)
    offer = replace(offer, runtime=settled(runtime_of(tx, offer.runtime.id), applied, now))
    revision = tx.revise("runtimes", offer.runtime.id)
    after, held = reserved(claim, replace(grant, offer=offer), node, revision, now)
    save_holds(tx, held)
    tx.claims.put(after)
    tx.journal.append(claim_changed(after, now))
    if claim.state is ClaimState.SUSPENDED:
        tx.journal.append(fallback_engaged(claim, after, now))
    return after


def extend(tx: Transaction, claim: Claim, now: datetime) -> Lease:
    """Neither a revision nor an event comes of it."""
    lease = renewed(claim, tx.claim_leases.get(claim.id), now)
    tx.claim_leases.put(lease)
    return lease


def drop(tx: Transaction, name: RuntimeId, claim: ClaimId, now: datetime) -> None:
    """Its hold on the runtime, and what it was promised there, if there is anything."""
    runtime = tx.runtimes.get(name)
    if runtime is not None and claim in claims_of(runtime):
        revision = tx.revise("runtimes", runtime.id)
        save_holds(tx, taken(runtime, claim, revision, now))


def _let_go(tx: Transaction, claim: Claim, now: datetime) -> None:
    for name in {claim.held.runtime if claim.held else None, claim.booked}:
        if name is not None:
            drop(tx, name, claim.id, now)
