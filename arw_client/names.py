"""Resource names and the ids that people write."""

from __future__ import annotations


def resource_name(collection: str, text: str) -> str:
    """Give runtimes/a__b for each of "a/b", "a__b" and "runtimes/a__b"."""
    return f"{collection}/{text.removeprefix(f'{collection}/').replace('/', '__')}"


def display_id(name: str) -> str:
    """The id in a resource name, as people write it."""
    return name.partition("/")[2].replace("__", "/")
