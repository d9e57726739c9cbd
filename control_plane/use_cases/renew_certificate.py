from __future__ import annotations

from dataclasses import dataclass, replace

from control_plane.domain.admission import Presented, activated
from control_plane.use_cases.authenticate_node import authenticated
from control_plane.use_cases.ports import CertificateAuthority, Clock, IssuedCertificate, Store, Transaction


@dataclass(frozen=True, slots=True)
class RenewCertificate:
    """A new certificate for the same node; the old one stays valid until the new one is first used.

    Refusals as AuthenticateNode; InvalidArgument for the request. A repeat replaces the certificate not used yet.
    """

    store: Store
    clock: Clock
    authority: CertificateAuthority

    async def __call__(self, presented: Presented, csr_der: bytes) -> IssuedCertificate:
        return await self.store.write(lambda tx: self._renewed(tx, presented, csr_der))

    def _renewed(self, tx: Transaction, presented: Presented, csr_der: bytes) -> IssuedCertificate:
        node = activated(authenticated(tx, presented, self.clock), presented)
        issued = self.authority.issue_node(csr_der, node.id)
        trust = replace(node.trust, pending_issuer=issued.issuer, pending_bundle=self.authority.bundle_digest)
        tx.nodes.put(replace(node, pending_serial=issued.serial, trust=trust))
        return issued
