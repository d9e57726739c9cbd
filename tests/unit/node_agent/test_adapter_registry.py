from importlib.metadata import EntryPoint

from node_agent.runtimes.kinds import registry

FAKES = "tests.fakes.third_party_adapter"


def point(name: str, attribute: str) -> EntryPoint:
    return EntryPoint(name, f"{FAKES}:{attribute}", registry.GROUP)


def ids(*points: EntryPoint) -> list[str]:
    return [one.adapter.id for one in registry.registered(points)]


def test_a_package_brings_its_adapter_by_an_entry_point() -> None:
    found = registry.registered([point("acme.echo", "ShellEcho")])
    sources = {one.adapter.id: one.source for one in found}
    assert sources["acme.echo"] == f"{FAKES}:ShellEcho"
    assert sources["llama.cpp"] == registry.BUILT_IN


def test_no_package_takes_the_place_of_an_adapter_of_the_agent() -> None:
    found = registry.registered([point("llama.cpp", "Impostor")])
    assert {one.adapter.id: one.source for one in found}["llama.cpp"] == registry.BUILT_IN


def test_an_adapter_that_cannot_be_loaded_costs_the_others_nothing() -> None:
    own = ids()
    assert ids(point("a", "Nothing"), point("b", "broken"), EntryPoint("c", "no.such.module:X", registry.GROUP)) == own


def test_an_adapter_goes_by_the_name_of_its_entry_point() -> None:
    assert "acme.echo" not in ids(point("other", "ShellEcho"))
