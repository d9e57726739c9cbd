"""How a request names its claim."""

from __future__ import annotations

import pytest

from gateway.credential import Credential, credential_of
from wire.http_head import Limits, Request, RequestReader


def asked(*headers: str) -> Request:
    found: list[Request] = []
    RequestReader(Limits(), found.append, lambda _: None).feed(
        "\r\n".join(["GET /v1/models HTTP/1.1", "host: h", *headers, "", ""]).encode()
    )
    return found[0]


@pytest.mark.parametrize(
    ("headers", "sent"),
    [
        ([], Credential(None)),
        (["authorization: Bearer id.secret"], Credential("Bearer id.secret")),
        (["x-api-key: id.secret"], Credential("Bearer id.secret")),
        (["authorization: Bearer id.secret", "x-arw-claim: c1"], Credential("Bearer id.secret", "c1")),
        (["authorization: Bearer id.secret~c1"], Credential("Bearer id.secret", "c1")),
        (["x-api-key: id.secret~c1"], Credential("Bearer id.secret", "c1")),
        (["authorization: Bearer id.secret~c1", "x-arw-claim: claims/c2"], Credential("Bearer id.secret", "c2")),
        (["authorization: Bearer id.secret~"], Credential("Bearer id.secret")),
    ],
)
def test_a_claim_is_named_by_its_header_or_after_the_key(headers: list[str], sent: Credential) -> None:
    assert credential_of(asked(*headers)) == sent
