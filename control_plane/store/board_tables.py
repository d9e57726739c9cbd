"""The board's tables in PostgreSQL, as text: they are made when they are missing, and a crash of it empties them.

Their names carry the version of their form. Replicas of a version with another form are not heard; nobody migrates.
"""

# ruff: noqa: S608 - numbers of this file stand in the text, and nothing else

from __future__ import annotations

from control_plane.store.session import Session
from control_plane.store.statements import Statement

LOCK_CLASS = 471_829_021
"""Of the locks by which PostgreSQL knows that a replica's session lives; any number that no other program takes."""
CHANNEL = "arw_board"
ROLE = "control-plane"
MAX_WAITING = 1000
"""Errands for one replica; it has not read for long, and those that come on top are lost."""
NOTES_AT_ONCE = 5000
CLAIM_WAITS = "500ms"

IS_THERE = "SELECT to_regclass('arw_board1_errand')"
CREATE = (
    """CREATE UNLOGGED TABLE arw_board1_replica (
        id text COLLATE "C" PRIMARY KEY,
        number integer NOT NULL,
        registration bigint NOT NULL,
        place text NOT NULL,
        batch bigint NOT NULL DEFAULT 0,
        started timestamptz NOT NULL,
        seen timestamptz NOT NULL)""",
    """CREATE UNLOGGED TABLE arw_board1_note (
        replica text COLLATE "C",
        kind text COLLATE "C",
        key text COLLATE "C",
        seq bigint NOT NULL,
        content bytea,
        written timestamptz NOT NULL,
        PRIMARY KEY (replica, kind, key))""",
    "CREATE UNIQUE INDEX arw_board1_note_seq ON arw_board1_note (replica, seq)",
    "CREATE INDEX arw_board1_note_gone ON arw_board1_note (written) WHERE content IS NULL",
    """CREATE UNLOGGED TABLE arw_board1_errand (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        replica text COLLATE "C" NOT NULL,
        content bytea NOT NULL)""",
    "CREATE INDEX arw_board1_errand_replica ON arw_board1_errand (replica)",
)

# Both numbers of the lock: the class, then the replica's own.
_USES = f"""pg_locks WHERE locktype = 'advisory' AND objsubid = 2 AND granted AND classid = {LOCK_CLASS}
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"""
# Those of replicas, whose numbers begin at 1.
_LOCKS = f"{_USES} AND objid > 0"

SEEN = "UPDATE arw_board1_replica SET seen = now(), place = %(place)s WHERE id = %(me)s RETURNING started, batch"
REGISTER = """INSERT INTO arw_board1_replica (id, number, registration, place, started, seen)
    VALUES (%(me)s, %(number)s, %(registration)s, %(place)s, coalesce(%(started)s, now()), now())
    RETURNING started, batch"""
# Once a session: it would count how often it was taken.
HOLD = f"""SELECT pg_try_advisory_lock({LOCK_CLASS}, %(number)s)
    WHERE NOT EXISTS (SELECT FROM {_LOCKS} AND pid = pg_backend_pid())"""

POST_NOTES = """INSERT INTO arw_board1_note (replica, kind, key, seq, content, written)
    SELECT %(me)s, given.kind, given.key, given.seq, given.content, now()
    FROM unnest(%(kinds)s::text[], %(keys)s::text[], %(seqs)s::bigint[], %(contents)s::bytea[])
        AS given (kind, key, seq, content)
    ON CONFLICT (replica, kind, key) DO UPDATE SET seq = excluded.seq, content = excluded.content, written = now()"""
# A replica that leaves at this moment either keeps its row until the errand is there, and takes it along, or gets none.
POST_ERRANDS = f"""WITH there AS (SELECT id FROM arw_board1_replica WHERE id = ANY(%(replicas)s) FOR KEY SHARE),
    given AS (SELECT replica, content, place, row_number() OVER (PARTITION BY replica ORDER BY place) AS rank
        FROM unnest(%(replicas)s::text[], %(contents)s::bytea[]) WITH ORDINALITY AS one (replica, content, place)),
    waiting AS (SELECT replica, count(*) AS errands FROM arw_board1_errand
        WHERE replica = ANY(%(replicas)s) GROUP BY replica)
    INSERT INTO arw_board1_errand (replica, content)
    SELECT given.replica, given.content FROM given JOIN there ON there.id = given.replica
        LEFT JOIN waiting ON waiting.replica = given.replica
    WHERE given.rank + coalesce(waiting.errands, 0) <= {MAX_WAITING} ORDER BY given.place"""
# Tells later whether a transaction with errands was committed whose end its session did not live to see.
MARK = "UPDATE arw_board1_replica SET batch = %(batch)s WHERE id = %(me)s"
TAKE_ERRANDS = "DELETE FROM arw_board1_errand WHERE replica = %(me)s RETURNING id, content"

REPLICAS = f"""SELECT id, registration, place, started, extract(epoch FROM now() - seen)::float8,
        number IN (SELECT objid::int FROM {_LOCKS}), extract(epoch FROM now())::float8
    FROM arw_board1_replica ORDER BY started, id"""
NOTES = f"""SELECT replica, kind, key, seq, content FROM arw_board1_note
    JOIN unnest(%(replicas)s::text[], %(lasts)s::bigint[]) AS read (id, last) ON replica = read.id
    WHERE seq > read.last AND (content IS NOT NULL OR read.last > 0)
    ORDER BY replica, seq LIMIT {NOTES_AT_ONCE}"""

LEADER = "SELECT term, holder FROM leader WHERE role = %(role)s"
# The counter's row orders the claim against every change that compares the term: each is before it, or sees it.
TURN_TO_CLAIM = f"SAVEPOINT claim; SET LOCAL lock_timeout = '{CLAIM_WAITS}'; SELECT FROM meta FOR UPDATE"
CLAIM = """INSERT INTO leader (role, term, holder) VALUES (%(role)s, 1, %(me)s)
    ON CONFLICT (role) DO UPDATE SET term = leader.term + 1, holder = excluded.holder
    WHERE leader.holder = %(dead)s RETURNING term"""

SWEEP = """WITH dead AS (SELECT id FROM arw_board1_replica WHERE id = ANY(%(replicas)s)
        AND abs(extract(epoch FROM now() - seen)) > %(age)s FOR UPDATE SKIP LOCKED),
    notes AS (DELETE FROM arw_board1_note WHERE replica IN (SELECT id FROM dead))
    DELETE FROM arw_board1_replica WHERE id IN (SELECT id FROM dead)"""
SWEEP_ERRANDS = """DELETE FROM arw_board1_errand
    WHERE NOT EXISTS (SELECT FROM arw_board1_replica WHERE id = arw_board1_errand.replica)"""
SWEEP_NOTES = "DELETE FROM arw_board1_note WHERE content IS NULL AND written < now() - make_interval(secs => %(age)s)"

# The replica's row first: who posts an errand for it waits, and then finds it gone.
LEAVE = (
    "DELETE FROM arw_board1_replica WHERE id = %(me)s",
    "DELETE FROM arw_board1_note WHERE replica = %(me)s",
    "DELETE FROM arw_board1_errand WHERE replica = %(me)s",
)

EMPTY = (
    "DELETE FROM arw_board1_replica",
    "DELETE FROM arw_board1_note",
    "DELETE FROM arw_board1_errand",
)

_HERE = "SELECT coalesce(host(client_addr), 'the machine of PostgreSQL') FROM pg_stat_activity"
HOLDERS = f"{_HERE} WHERE pid IN (SELECT pid FROM {_LOCKS}) ORDER BY 1"

# What each process holds that has opened the database, on the board or not yet.
USE = f"SELECT pg_advisory_lock_shared({LOCK_CLASS}, 0)"
USERS = f"{_HERE} WHERE pid IN (SELECT pid FROM {_USES}) GROUP BY 1 ORDER BY 1"


def empty(session: Session) -> None:
    """For everybody."""
    ((there,),) = session.rows(Statement(IS_THERE))
    for statement in EMPTY if there else ():
        session.run(Statement(statement))
