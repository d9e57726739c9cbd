"""A new history for a database that lacks what was handed out: nothing of that is ever handed out again."""

from __future__ import annotations

from dataclasses import replace
from uuid import uuid4

from control_plane.store.codec import NODE
from control_plane.store.counters import Counters
from control_plane.store.session import Session
from control_plane.use_cases.lost_history import JUMP


def begin_anew(session: Session, counters: Counters) -> str:
    """The new history's id. All numbers that are handed out jump, and nobody goes on from an older revision.

    The fence of a runtime's hold stays: requests carry it, and nodes that have not agreed yet compare it.
    """
    history, statements = uuid4().hex, session.statements
    counters.jump(JUMP)
    session.run(statements.begin_history, history_id=history, compacted_revision=counters.position().revision)
    session.run(statements.jump_terms, by=JUMP)
    session.run(statements.jump_epochs, by=JUMP)
    session.run(statements.forget_log)
    session.run(statements.forget_buried)
    _believe_newer_certificates(session)
    return history


def _believe_newer_certificates(session: Session) -> None:
    """Every node renews within a day, so the database may have forgotten the certificate that its node now shows."""
    for name, *_, document in session.rows(session.statements.nodes.all):
        node = replace(NODE.decode(document), newer_certificate_believed=True)
        session.run(session.statements.node_document, node=name, document=NODE.encode(node))
