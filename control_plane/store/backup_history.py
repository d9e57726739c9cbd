"""A new history for a database that was put back: what it hands out from now on was never handed out before."""

from __future__ import annotations

from dataclasses import replace
from uuid import uuid4

import sqlalchemy as sa

from control_plane.store.codec import NODE
from control_plane.store.tables import change_log, desired, meta, nodes

JUMP = 1_000_000
"""More than a database that was lost can have handed out since its backup."""


def begin_anew(connection: sa.Connection) -> str:
    """The new history's id. Revisions, event ids and session epochs jump; nobody goes on from an older revision."""
    history = uuid4().hex
    ahead = meta.c.revision + JUMP
    numbers = {"revision": ahead, "compacted_revision": ahead, "last_event_id": meta.c.last_event_id + JUMP}
    connection.execute(sa.update(meta).values(history_id=history, **numbers))
    connection.execute(sa.delete(change_log))
    connection.execute(sa.delete(desired).where(desired.c.document.is_(None)))
    connection.execute(sa.update(nodes).values(session_epoch=nodes.c.session_epoch + JUMP))
    _believe_newer_certificates(connection)
    return history


def _believe_newer_certificates(connection: sa.Connection) -> None:
    """Every node renews within a day, so the database may have forgotten the certificate that its node now shows."""
    for name, document in connection.execute(sa.select(nodes.c.id, nodes.c.document)).all():
        node = replace(NODE.decode(document), newer_certificate_believed=True)
        connection.execute(sa.update(nodes).where(nodes.c.id == name).values(document=NODE.encode(node)))
