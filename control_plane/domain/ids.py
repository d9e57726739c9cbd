"""Names of things. Display ids may hold "/"; in resource names it is written "__"."""

from __future__ import annotations

import re
from typing import NewType

from control_plane.domain.errors import InvalidId

NodeId = NewType("NodeId", str)
RuntimeId = NewType("RuntimeId", str)
ModelId = NewType("ModelId", str)
TokenId = NewType("TokenId", str)
OperatorId = NewType("OperatorId", str)
ReplicaId = NewType("ReplicaId", str)
JobId = NewType("JobId", str)
ProjectId = NewType("ProjectId", str)
KeyId = NewType("KeyId", str)
AuthorityId = NewType("AuthorityId", str)
"""Of an authority's key: lower-case hex of its SubjectKeyIdentifier, which what it signed names."""
ClaimId = NewType("ClaimId", str)

MAX_LENGTH = 128
_COLLECTIONS = ("nodes/", "runtimes/", "models/", "instances/")
"""An id that began so could not be told from the resource name of another."""
PATTERN = r"[a-z0-9][a-z0-9._-]*(/[a-z0-9][a-z0-9._-]*)*"
_ID = re.compile(PATTERN)


def checked(text: str, what: str) -> str:
    """Return `text` when it is a valid display id; raise InvalidId with the rule otherwise."""
    named = text.startswith(_COLLECTIONS)
    if len(text) > MAX_LENGTH or "__" in text or "_/" in text or named or not _ID.fullmatch(text):
        raise InvalidId(
            f"{text[:MAX_LENGTH]!r} is no valid {what} id.",
            f"Use 1 to {MAX_LENGTH} of a-z, 0-9, '.', '_', '-' and '/', starting with a letter or digit, "
            "without '__' and '_/', and not beginning like a resource name ('nodes/', 'runtimes/' ...).",
            id=text[:MAX_LENGTH],
        )
    return text


def resource_name(collection: str, display_id: str) -> str:
    return f"{collection}/{display_id.replace('/', '__')}"


def parsed(name: str, collection: str, what: str) -> str:
    """The display id in a resource name such as "runtimes/a__b"; a bare display id is accepted too."""
    segment = name.removeprefix(f"{collection}/").replace("__", "/")
    return checked(segment, what)


def instance_name(node: NodeId, runtime: RuntimeId) -> str:
    return f"{resource_name('nodes', node)}/{resource_name('instances', runtime)}"
