"""Projects, the keys that let in on their behalf, and when each was last used."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_KEY = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    for name in ("projects", "project_keys", "key_uses"):
        op.create_table(
            name,
            sa.Column("id", _KEY, primary_key=True),
            sa.Column("document", sa.Text, nullable=False),
        )
