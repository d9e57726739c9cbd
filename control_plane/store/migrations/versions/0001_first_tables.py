"""The first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_KEY = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    _create_history()
    _create_resources()
    _create_desired()
    _create_journal()


def _create_history() -> None:
    op.create_table(
        "meta",
        sa.Column(
            "id", sa.Integer, sa.CheckConstraint("id = 1", name="one_row"), primary_key=True, autoincrement=False
        ),
        sa.Column("history_id", sa.Text, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("compacted_revision", sa.BigInteger, nullable=False),
        sa.Column("last_event_id", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "change_log",
        sa.Column("revision", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("kind", _KEY, primary_key=True),
        sa.Column("name", _KEY, primary_key=True),
    )


def _create_resources() -> None:
    op.create_table(
        "nodes",
        sa.Column("id", _KEY, primary_key=True),
        sa.Column("session_epoch", sa.BigInteger, nullable=False),
        sa.Column("document", sa.Text, nullable=False),
    )
    for name in ("runtimes", "models", "operators"):
        op.create_table(
            name,
            sa.Column("id", _KEY, primary_key=True),
            sa.Column("document", sa.Text, nullable=False),
        )
    op.create_table(
        "join_tokens",
        sa.Column("id", _KEY, primary_key=True),
        sa.Column("expire_time", sa.BigInteger, nullable=False),
        sa.Column("use_time", sa.BigInteger),
        sa.Column("used_by", sa.Text),
        sa.Column("used_key_sha256", sa.Text, nullable=False),
        sa.Column("document", sa.Text, nullable=False),
    )


def _create_desired() -> None:
    op.create_table(
        "desired",
        sa.Column("node", _KEY, primary_key=True),
        sa.Column("name", _KEY, primary_key=True),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("generation", sa.BigInteger, nullable=False),
        sa.Column("document", sa.Text),
    )
    op.create_index("desired_by_revision", "desired", ["revision", "node"])


def _create_journal() -> None:
    op.create_table(
        "events",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            primary_key=True,
            autoincrement=False,
        ),
        sa.Column("time", sa.BigInteger, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("payload", sa.Text, nullable=False),
    )
    op.create_table(
        "request_log",
        sa.Column("method", _KEY, primary_key=True),
        sa.Column("request_id", _KEY, primary_key=True),
        sa.Column("request_sha256", sa.Text, nullable=False),
        sa.Column("answer", sa.LargeBinary, nullable=False),
        sa.Column("time", sa.BigInteger, nullable=False),
    )
    op.create_index("request_log_by_time", "request_log", ["time"])
