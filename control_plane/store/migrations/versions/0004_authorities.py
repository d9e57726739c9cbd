"""Several authorities, so that one can take another's place; the one that there was is the active one."""

from __future__ import annotations

import base64
import json

import sqlalchemy as sa
from alembic import op
from cryptography import x509

revision = "0004"
down_revision = "0003"

_KEY = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    made = op.create_table(
        "authorities",
        sa.Column("id", _KEY, primary_key=True),
        sa.Column("document", sa.Text, nullable=False),
    )
    former = sa.table("authority", sa.column("certificate"), sa.column("sealed_key"))
    for certificate, sealed_key in op.get_bind().execute(sa.select(former.c.certificate, former.c.sealed_key)):
        op.execute(sa.insert(made).values(**_row(bytes(certificate), sealed_key and bytes(sealed_key))))
    op.drop_table("authority")


def _row(certificate: bytes, sealed_key: bytes | None) -> dict[str, str]:
    document = {
        "id": _key_id(certificate),
        "state": "active",
        "certificate": base64.b64encode(certificate).decode(),
        "sealed_key": base64.b64encode(sealed_key).decode() if sealed_key else None,
    }
    return {"id": document["id"] or "", "document": json.dumps(document)}


def _key_id(certificate: bytes) -> str:
    """Of one that is damaged, as any other word: it is looked at, and refused, at the start."""
    try:
        key = x509.load_der_x509_certificate(certificate).public_key()
        return x509.SubjectKeyIdentifier.from_public_key(key).digest.hex()
    except ValueError:
        return "damaged"
