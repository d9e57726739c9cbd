"""Alembic's entry. Runs on the connection it is given, inside that connection's transaction."""

from __future__ import annotations

from alembic import context

from control_plane.store.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
