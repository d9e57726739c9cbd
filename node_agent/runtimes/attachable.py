"""What already runs and may be attached: anything on this machine, and elsewhere what its owner named."""

from __future__ import annotations

import ipaddress
import json
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import structlog

from node_agent.domain.errors import LocalPolicyDenied, SpecInvalid, StorageUnavailable
from wire.atomic_file import write_atomically

log = structlog.get_logger()


class Allowed(msgspec.Struct, frozen=True):
    """An address that the owner of this node lets instances attach to."""

    url: str
    key_file: str = ""
    """File on this node with the key that it asks for; empty: it asks for none."""


def address_of(url: str) -> tuple[str, int]:
    """(host, port) of http://host:port. SpecInvalid for anything else."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or 80
    except ValueError:
        host = None
    if not host or parts.scheme != "http" or parts.path not in ("", "/") or parts.query or parts.username:
        raise SpecInvalid(
            f"{url[:200]!r} is no address to attach to.",
            "Give it as http://HOST:PORT, without a path; for TLS put a proxy on this node.",
        )
    return host, port


def canonical(url: str) -> str:
    host, port = address_of(url)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def is_loopback(host: str) -> bool:
    """Only what cannot leave this machine; a name other than localhost may mean anything tomorrow."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Attachable:
    """attachable.json in the agent's state directory. Only the owner's own commands write it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def check(self, url: str) -> None:
        """SpecInvalid, or LocalPolicyDenied for another machine that the owner did not allow."""
        host, _ = address_of(url)
        if not is_loopback(host) and self._allowed(url) is None:
            raise LocalPolicyDenied(
                f"{url} is not on this machine, and its owner did not allow it.",
                f"If you do, run on this node: arw-node-agent trust external {canonical(url)}",
                url=url,
            )

    def key(self, url: str) -> str:
        """What it is to be shown; empty: nothing. LocalPolicyDenied when its file cannot be read."""
        allowed = self._allowed(url)
        if allowed is None or not allowed.key_file:
            return ""
        try:
            return Path(allowed.key_file).read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise LocalPolicyDenied(
                f"The key for {url} cannot be read from {allowed.key_file}: {error}.",
                "Make the file readable for the user that runs the agent; it holds the key alone.",
            ) from error

    def allow(self, url: str, key_file: Path | None) -> Allowed:
        one = Allowed(canonical(url), str(key_file.absolute()) if key_file else "")
        others = [other for other in self._read() if other.url != one.url]
        try:
            write_atomically(self._path, json.dumps(msgspec.to_builtins([one, *others]), indent=1).encode())
        except OSError as error:
            raise StorageUnavailable(f"{self._path} cannot be written: {error}.", "Free some disk space.") from error
        return one

    def _allowed(self, url: str) -> Allowed | None:
        return next((one for one in self._read() if one.url == canonical(url)), None)

    def _read(self) -> list[Allowed]:
        """A broken list allows nothing."""
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=list[Allowed])
        except FileNotFoundError:
            return []
        except (OSError, msgspec.DecodeError) as error:
            log.warning("attachable_list_unreadable", path=str(self._path), error=str(error))
            return []
