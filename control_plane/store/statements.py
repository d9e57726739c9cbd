"""Every statement of the store, built with SQLAlchemy Core and compiled to text once an engine.

The hot path hands that text straight to the driver: Core's own execution costs more than the statement does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy.engine import Dialect
from sqlalchemy.sql.compiler import SQLCompiler

from control_plane.store import tables

Insert = Callable[[sa.Table], Any]
"""The `insert` of a dialect that knows ON CONFLICT; SQLite's and PostgreSQL's are alike and share no type."""

_ONE = sa.literal_column("1", sa.BigInteger())


@dataclass(frozen=True, slots=True)
class Statement:
    """SQL in the driver's own named style."""

    text: str
    fixed: Mapping[str, object] = field(default_factory=dict)
    """Parameters that Core made of constants."""


class Statements:
    """Compiles for one dialect, whose paramstyle takes named parameters."""

    def __init__(self, dialect: Dialect, insert: Insert) -> None:
        self._dialect = dialect
        self._insert = insert
        self._after: dict[int, Statement] = {}
        self._newest: dict[int, Statement] = {}
        self.nodes = self._rows(tables.nodes, never_back=("session_epoch",))
        self.runtimes = self._rows(tables.runtimes)
        self.models = self._rows(tables.models)
        self.join_tokens = self._rows(tables.join_tokens)
        self.operators = self._rows(tables.operators)
        self.jobs = self._rows(tables.jobs)
        self.projects = self._rows(tables.projects)
        self.project_keys = self._rows(tables.project_keys)
        self.key_uses = self._rows(tables.key_uses)
        self.authorities = self._rows(tables.authorities)
        self.claims = self._rows(tables.claims)
        self.claim_leases = self._rows(tables.claim_leases)
        leads = tables.leader.c.role == sa.bindparam("role")
        self.leader_term = self._compile(sa.select(tables.leader.c.term).where(leads))
        self._compile_meta()
        self._compile_desired()
        self._compile_history()
        self._compile_events()
        self._compile_requests()

    def events_after(self, prefixes: int) -> Statement:
        """For `:after`, `:limit` and `:prefix_0` onward."""
        if prefixes not in self._after:
            rows = sa.select(tables.events).where(tables.events.c.id > sa.bindparam("after"), _matches(prefixes))
            self._after[prefixes] = self._compile(rows.order_by(tables.events.c.id).limit(sa.bindparam("limit")))
        return self._after[prefixes]

    def events_newest(self, prefixes: int) -> Statement:
        """For `:limit` and `:prefix_0` onward, newest first."""
        if prefixes not in self._newest:
            rows = sa.select(tables.events).where(_matches(prefixes)).order_by(tables.events.c.id.desc())
            self._newest[prefixes] = self._compile(rows.limit(sa.bindparam("limit")))
        return self._newest[prefixes]

    def _compile_meta(self) -> None:
        meta, log, nodes, tokens = tables.meta, tables.change_log, tables.nodes, tables.join_tokens
        self.meta = self._compile(sa.select(meta.c.history_id, meta.c.compacted_revision))
        self.position = self._compile(sa.select(meta.c.revision, meta.c.last_event_id))
        self.revise = self._compile(sa.update(meta).values(revision=meta.c.revision + _ONE).returning(meta.c.revision))
        self.compact = self._compile(sa.update(meta), [meta.c.compacted_revision])
        self.log_change = self._compile(self._insert(log).on_conflict_do_nothing(), log.c)
        newer = sa.select(log).where(log.c.revision > sa.bindparam("after"))
        self.changes = self._compile(newer.order_by(*log.primary_key))
        self.forget_changes = self._compile(sa.delete(log).where(log.c.revision <= sa.bindparam("floor")))
        epoch = (
            sa.update(nodes)
            .where(nodes.c.id == sa.bindparam("node"))
            .values(session_epoch=nodes.c.session_epoch + _ONE)
        )
        self.open_session = self._compile(epoch.returning(nodes.c.session_epoch))
        usable = (
            tokens.c.id == sa.bindparam("token"),
            tokens.c.use_time.is_(None),
            tokens.c.expire_time > sa.bindparam("now"),
        )
        used = [tokens.c.use_time, tokens.c.used_by, tokens.c.used_key_sha256]
        self.redeem = self._compile(sa.update(tokens).where(*usable), used)

    def _compile_desired(self) -> None:
        desired = tables.desired
        of_node = desired.c.node == sa.bindparam("node")
        self.desired_put = self._upsert(desired)
        named = desired.c.name == sa.bindparam("name")
        buried = sa.update(desired).where(of_node, named, desired.c.document.is_not(None))
        self.desired_bury = self._compile(buried.values(document=None, revision=sa.bindparam("at")))
        newer = sa.select(desired).where(of_node, desired.c.revision > sa.bindparam("after"))
        self.desired_since = self._compile(newer.order_by(desired.c.revision, desired.c.name))
        live = sa.select(desired).where(of_node, desired.c.document.is_not(None))
        self.desired_live = self._compile(live.order_by(desired.c.name))
        newer = sa.select(desired.c.node).where(desired.c.revision > sa.bindparam("after")).distinct()
        self.desired_changed = self._compile(newer.order_by(desired.c.node))
        gone = sa.delete(desired).where(desired.c.document.is_(None), desired.c.revision <= sa.bindparam("floor"))
        self.forget_tombstones = self._compile(gone)

    def _compile_history(self) -> None:
        """What a new one changes beside the counters."""
        meta, desired, leader, nodes = tables.meta, tables.desired, tables.leader, tables.nodes
        by: sa.BindParameter[int] = sa.bindparam("by", type_=sa.BigInteger())
        ahead = {"revision": meta.c.revision + by, "last_event_id": meta.c.last_event_id + by}
        self.jump = self._compile(sa.update(meta).values(**ahead))
        self.begin_history = self._compile(sa.update(meta), [meta.c.history_id, meta.c.compacted_revision])
        self.jump_terms = self._compile(sa.update(leader).values(term=leader.c.term + by))
        self.jump_epochs = self._compile(sa.update(nodes).values(session_epoch=nodes.c.session_epoch + by))
        self.forget_log = self._compile(sa.delete(tables.change_log))
        self.forget_buried = self._compile(sa.delete(desired).where(desired.c.document.is_(None)))
        named = nodes.c.id == sa.bindparam("node")
        self.node_document = self._compile(sa.update(nodes).where(named), [nodes.c.document])

    def _compile_events(self) -> None:
        meta, events = tables.meta, tables.events
        step = sa.update(meta).values(last_event_id=meta.c.last_event_id + _ONE)
        self.next_event_id = self._compile(step.returning(meta.c.last_event_id))
        self.append_event = self._compile(sa.insert(events), events.c)
        young = sa.select(events.c.id).where(events.c.time >= sa.bindparam("time")).order_by(events.c.id)
        self.oldest_kept_event = self._compile(young.limit(1))
        newest = sa.select(events.c.id).order_by(events.c.id.desc())
        self.nth_newest_event = self._compile(newest.limit(1).offset(sa.bindparam("n", type_=sa.BigInteger())))
        old = sa.select(events.c.id).where(events.c.id < sa.bindparam("floor")).order_by(events.c.id)
        some = old.limit(sa.bindparam("limit")).scalar_subquery()
        self.forget_events = self._compile(sa.delete(events).where(events.c.id.in_(some)))

    def _compile_requests(self) -> None:
        log = tables.request_log
        mine = (log.c.method == sa.bindparam("method"), log.c.request_id == sa.bindparam("request_id"))
        young = log.c.time > sa.bindparam("since")
        self.remembered = self._compile(sa.select(log.c.request_sha256, log.c.answer).where(*mine, young))
        self.remember = self._upsert(log)
        self.forget_requests = self._compile(sa.delete(log).where(log.c.time <= sa.bindparam("since")))

    def _rows(self, table: sa.Table, never_back: Sequence[str] = ()) -> RowStatements:
        everything = sa.select(table).order_by(table.c.id)
        one_page = everything.where(table.c.id > sa.bindparam("after")).limit(sa.bindparam("limit"))
        return RowStatements(
            get=self._compile(sa.select(table).where(table.c.id == sa.bindparam("id"))),
            put=self._upsert(table, never_back),
            delete=self._compile(sa.delete(table).where(table.c.id == sa.bindparam("id"))),
            page=self._compile(one_page),
            all=self._compile(everything),
        )

    def _upsert(self, table: sa.Table, never_back: Sequence[str] = ()) -> Statement:
        insert = self._insert(table)
        given = {column.name: insert.excluded[column.name] for column in table.c if not column.primary_key}
        for name in never_back:
            given[name] = sa.case((given[name] > table.c[name], given[name]), else_=table.c[name])
        return self._compile(insert.on_conflict_do_update(index_elements=list(table.primary_key), set_=given), table.c)

    def _compile(self, statement: sa.ClauseElement, columns: Any = ()) -> Statement:
        names = [column.name for column in columns] or None
        compiled = cast("SQLCompiler", statement.compile(dialect=self._dialect, column_keys=names))
        fixed = {name: bind.value for bind, name in compiled.bind_names.items() if not bind.required}
        return Statement(compiled.string, fixed)


@dataclass(frozen=True, slots=True)
class RowStatements:
    get: Statement
    put: Statement
    delete: Statement
    page: Statement
    all: Statement


def _matches(prefixes: int) -> sa.ColumnElement[bool]:
    """True when the kind starts with one of the bound prefixes; with none, always."""
    kind = tables.events.c.kind
    starts = [sa.func.substr(kind, 1, sa.func.length(name)) == name for name in map(_prefix, range(prefixes))]
    return sa.or_(*starts) if starts else sa.true()


def _prefix(number: int) -> sa.BindParameter[str]:
    return sa.bindparam(f"prefix_{number}", type_=sa.Text())
