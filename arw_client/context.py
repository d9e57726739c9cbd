"""The operator's context file: where the control plane is, and who we are."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

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
        return cls(**{name: str(value) for name, value in found.items() if name in known})

    @property
    def grpc_endpoint(self) -> tuple[str, int]:
        host, _, port = self.grpc_address.rpartition(":")
        return host.strip("[]"), int(port)
