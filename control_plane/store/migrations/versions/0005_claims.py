"""Claims, and until when they live."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_KEY = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    for name in ("claims", "claim_leases"):
        op.create_table(
            name,
            sa.Column("id", _KEY, primary_key=True),
            sa.Column("document", sa.Text, nullable=False),
        )
