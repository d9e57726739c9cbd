"""A state directory that turns up in another place starts nothing until a person says that it was moved.

A copy would start a second engine beside each that the original left running, and its agent would oust the
original's. Renamed, or put back from a backup under the same path, a directory goes on by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from node_agent.domain.errors import DirectoryCopied, NotJoined
from node_agent.identity.files import IdentityFiles, NodeIdentity

Elsewhere = Callable[[], Sequence[int]]
"""Pids of engines that this directory's records name and that another directory holds."""

_ANEW = "give this one an identity of its own: arw-node-agent join --force"


def stay(files: IdentityFiles, elsewhere: Elsewhere) -> None:
    """Call it before anything is started. DirectoryCopied when this is not where the identity belongs."""
    identity, here = files.identity(), files.here()
    if identity.place == here:
        return
    refusal = copied(files, identity)
    if refusal:
        raise refusal
    if identity.place is not None:
        _alone(elsewhere)
    files.settle()


def copied(files: IdentityFiles, identity: NodeIdentity) -> DirectoryCopied | None:
    """Why an agent would not start here; None when it would."""
    former, here = identity.place, files.here()
    if former is None or here.continues(former):
        return None
    origin = f"from {former.path}" if here.on_machine_of(former) else f"from another machine ({former.path} there)"
    return DirectoryCopied(
        f"{here.path} holds the identity of node {identity.node}, but it was brought here {origin}.",
        f"If it was moved, and the old one is gone, run: arw-node-agent confirm-move. If it is a copy, {_ANEW}.",
        former_path=former.path,
    )


def confirm_move(files: IdentityFiles, elsewhere: Elsewhere) -> NodeIdentity:
    """The identity belongs here from now on. DirectoryCopied while the old place on this machine is still in use."""
    identity, here = files.identity(), files.here()
    former = identity.place
    if former is not None and not here.continues(former) and here.on_machine_of(former):
        _vacated(Path(former.path), identity)
    _alone(elsewhere)
    files.settle()
    return identity


def _vacated(path: Path, identity: NodeIdentity) -> None:
    try:
        found = IdentityFiles(path).identity()
    except NotJoined:
        return
    if found.installation_id == identity.installation_id:
        raise DirectoryCopied(
            f"Node {identity.node}'s directory was copied, not moved: {path} still holds its identity.",
            f"Remove that one once nothing runs there, or {_ANEW}.",
            former_path=str(path),
        )


def _alone(elsewhere: Elsewhere) -> None:
    pids = elsewhere()
    if pids:
        named = " ".join(str(pid) for pid in pids)
        raise DirectoryCopied(
            f"Engines of this node still run from the directory that was here, or that this one was copied from: "
            f"{named}.",
            f"End them with `kill {named}`, then try again; this node starts its own.",
            pids=named,
        )
