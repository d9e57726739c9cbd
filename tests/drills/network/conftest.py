from __future__ import annotations

from collections.abc import Iterator

import pytest

from arw.v1.instance_pb2 import INSTANCE_STATE_READY
from tests.fakes.proxied_site import ProxiedSite, new_site


@pytest.fixture
def site() -> Iterator[ProxiedSite]:
    """A node that joined and does not run yet."""
    with new_site() as made:
        yield made


@pytest.fixture(scope="module")
def lasting_site() -> Iterator[ProxiedSite]:
    with new_site() as made:
        made.declare("r1")
        made.agent.start()
        yield made


@pytest.fixture
def serving(lasting_site: ProxiedSite) -> ProxiedSite:
    """A node whose runtime serves; each test finds the network healed."""
    lasting_site.proxy.heal()
    lasting_site.agent.until_link("in_sync")
    lasting_site.until_instance(INSTANCE_STATE_READY)
    return lasting_site
