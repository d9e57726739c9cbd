"""The tables, in SQLAlchemy Core. Times are integer microseconds since 1970 UTC; documents are JSON text.

A column beside `document` is there for a query, and where the document holds the same field the column is the truth.
"""

from __future__ import annotations

import sqlalchemy as sa

metadata = sa.MetaData()

# Only a column of type INTEGER is SQLite's own row key, which saves a second index.
_ROW_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
# Keys sort by code point; PostgreSQL would sort them as its database collates.
_KEY = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")

meta = sa.Table(
    "meta",
    metadata,
    sa.Column("id", sa.Integer, sa.CheckConstraint("id = 1", name="one_row"), primary_key=True, autoincrement=False),
    sa.Column("history_id", sa.Text, nullable=False),
    sa.Column("revision", sa.BigInteger, nullable=False),
    sa.Column("compacted_revision", sa.BigInteger, nullable=False),
    # Not a sequence: ids of a sequence become visible out of order, and a reader that follows them loses rows.
    sa.Column("last_event_id", sa.BigInteger, nullable=False),
)

change_log = sa.Table(
    "change_log",
    metadata,
    sa.Column("revision", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("kind", _KEY, primary_key=True),
    sa.Column("name", _KEY, primary_key=True),
)

nodes = sa.Table(
    "nodes",
    metadata,
    sa.Column("id", _KEY, primary_key=True),
    sa.Column("session_epoch", sa.BigInteger, nullable=False),
    sa.Column("document", sa.Text, nullable=False),
)

runtimes = sa.Table(
    "runtimes",
    metadata,
    sa.Column("id", _KEY, primary_key=True),
    sa.Column("document", sa.Text, nullable=False),
)

models = sa.Table(
    "models",
    metadata,
    sa.Column("id", _KEY, primary_key=True),
    sa.Column("document", sa.Text, nullable=False),
)

join_tokens = sa.Table(
    "join_tokens",
    metadata,
    sa.Column("id", _KEY, primary_key=True),
    sa.Column("expire_time", sa.BigInteger, nullable=False),
    sa.Column("use_time", sa.BigInteger),
    sa.Column("used_by", sa.Text),
    sa.Column("used_key_sha256", sa.Text, nullable=False),
    sa.Column("document", sa.Text, nullable=False),
)

operators = sa.Table(
    "operators",
    metadata,
    sa.Column("id", _KEY, primary_key=True),
    sa.Column("document", sa.Text, nullable=False),
)

desired = sa.Table(
    "desired",
    metadata,
    sa.Column("node", _KEY, primary_key=True),
    sa.Column("name", _KEY, primary_key=True),
    sa.Column("revision", sa.BigInteger, nullable=False),
    sa.Column("generation", sa.BigInteger, nullable=False),
    # NULL: a tombstone.
    sa.Column("document", sa.Text),
    sa.Index("desired_by_revision", "revision", "node"),
)

events = sa.Table(
    "events",
    metadata,
    sa.Column("id", _ROW_KEY, primary_key=True, autoincrement=False),
    sa.Column("time", sa.BigInteger, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("payload", sa.Text, nullable=False),
)

request_log = sa.Table(
    "request_log",
    metadata,
    sa.Column("method", _KEY, primary_key=True),
    sa.Column("request_id", _KEY, primary_key=True),
    sa.Column("request_sha256", sa.Text, nullable=False),
    sa.Column("answer", sa.LargeBinary, nullable=False),
    sa.Column("time", sa.BigInteger, nullable=False),
    sa.Index("request_log_by_time", "time"),
)

# Who runs the loops of which there may be only one.
leader = sa.Table(
    "leader",
    metadata,
    sa.Column("role", _KEY, primary_key=True),
    # Goes up by one whenever another takes over.
    sa.Column("term", sa.BigInteger, nullable=False),
    sa.Column("holder", sa.Text, nullable=False),
)

authorities = sa.Table(
    "authorities",
    metadata,
    sa.Column("id", _KEY, primary_key=True),
    sa.Column("document", sa.Text, nullable=False),
)

jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("id", _KEY, primary_key=True),
    sa.Column("document", sa.Text, nullable=False),
)

projects = sa.Table(
    "projects",
    metadata,
    sa.Column("id", _KEY, primary_key=True),
    sa.Column("document", sa.Text, nullable=False),
)

project_keys = sa.Table(
    "project_keys",
    metadata,
    sa.Column("id", _KEY, primary_key=True),
    sa.Column("document", sa.Text, nullable=False),
)

# Apart from the keys: that one was used is no change of intent.
key_uses = sa.Table(
    "key_uses",
    metadata,
    sa.Column("id", _KEY, primary_key=True),
    sa.Column("document", sa.Text, nullable=False),
)

claims = sa.Table(
    "claims",
    metadata,
    sa.Column("id", _KEY, primary_key=True),
    sa.Column("document", sa.Text, nullable=False),
)

# Apart from the claims: to renew one is no change of intent.
claim_leases = sa.Table(
    "claim_leases",
    metadata,
    sa.Column("id", _KEY, primary_key=True),
    sa.Column("document", sa.Text, nullable=False),
)
