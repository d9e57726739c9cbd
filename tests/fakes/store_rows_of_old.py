"""What a database of any release may hold, written without the code that knows only the newest schema."""

from __future__ import annotations

import sqlalchemy as sa

from control_plane.store.codec import NODE
from tests.fakes.store_rows import a_node


def fill(connection: sa.Connection) -> None:
    """The history "old" at revision 7, and the node "a"."""
    history = (
        "INSERT INTO meta (id, history_id, revision, compacted_revision, last_event_id) VALUES (1, 'old', 7, 0, 0)"
    )
    connection.exec_driver_sql(history)
    node = sa.text("INSERT INTO nodes (id, session_epoch, document) VALUES ('a', 0, :document)")
    connection.execute(node, {"document": NODE.encode(a_node("a"))})
