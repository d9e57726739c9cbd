"""The operator's context file: where the control plane is, and who we are."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arw_client.errors import ContextError

FILE_NAME = "context.json"


@dataclass(frozen=True, slots=True)
class Context:
    trust_domain: str
    grpc_address: str
    """host:port of the port with mutual TLS."""
    http_url: str
    ca_pem: str
    certificate_pem: str
    key_pem: str = dataclasses.field(repr=False)
    token: str = dataclasses.field(repr=False)
    """Bearer token for HTTP: "id.secret"."""
    state_dir: str = ""
    """Of the control plane, when it runs on this machine."""
    grpc_addresses: tuple[str, ...] = ()
    """As `grpc_address`, of further replicas: tried in this order when one does not answer."""
    http_urls: tuple[str, ...] = ()
    """As `http_url`, in the same way."""
    trust: str = ""
    """What the control plane said of its authorities when this was brought in line with them; empty: nothing yet."""

    @classmethod
    def load(cls, path: Path) -> Context:
        """Read a context file; ContextError says what is wrong with it."""
        try:
            return cls._parsed(path.read_text())
        except FileNotFoundError:
            raise ContextError(
                f"There is no context file at {path}.",
                "Start a control plane with `arwctl up`, or name a context file with --context.",
            ) from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ContextError(
                f"The context file {path} cannot be used: {error}.",
                "Write a new one: remove the file, then run `arwctl up`.",
            ) from error

    @classmethod
    def _parsed(cls, text: str) -> Context:
        found = json.loads(text)
        if not isinstance(found, dict):
            raise TypeError("it is not a JSON object")
        known = {field.name for field in dataclasses.fields(cls)}
        values: dict[str, Any] = {name: str(value) for name, value in found.items() if name in known}
        values |= {name: _words(name, found.get(name, [])) for name in ("grpc_addresses", "http_urls")}
        context = cls(**values)
        _ = context.grpc_endpoints  # as a check
        return context

    @property
    def grpc_endpoint(self) -> tuple[str, int]:
        return _endpoint(self.grpc_address)

    @property
    def grpc_endpoints(self) -> tuple[tuple[str, int], ...]:
        """Of every replica that is known, each once."""
        return tuple(dict.fromkeys(map(_endpoint, (self.grpc_address, *self.grpc_addresses))))


def _words(name: str, found: object) -> tuple[str, ...]:
    if not isinstance(found, list):
        raise TypeError(f"{name} is no list")
    return tuple(map(str, found))


def _endpoint(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)
