"""node_agent.toml: what people write, and what comes of it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from node_agent.domain.inventory import Inventory, NodeUsage
from node_agent.domain.limits import PROMPT_CACHE_BYTES, Choice, Limits
from node_agent.domain.sandbox import Sandbox
from node_agent.domain.spec import ExecutionMode
from node_agent.local_limits.measure import Machine, UnreadableError
from node_agent.local_limits.offer import LimitedHardware
from node_agent.local_limits.reading import read
from node_agent.local_limits.watch import LimitsFile
from node_agent.runtimes.sandbox.layers import OPTIONAL
from node_agent.runtimes.sandbox.offered import layers_here
from tests.fakes.agent_bench import INVENTORY
from tests.fakes.agent_parts import FixedInventory

SHIPPED = Path(__file__).parents[3] / "configs" / "node_agent.toml"
MACHINE = Machine(16 << 30, frozenset({"llama.cpp", "whisper.cpp", "external"}), OPTIONAL)
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o600)
    return path


def fault(path: Path, text: str) -> str:
    with pytest.raises(UnreadableError) as caught:
        read(written(path, text), MACHINE)
    return str(caught.value)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "node_agent.toml"


def test_the_shipped_file_is_read_and_says_what_it_explains(file: Path) -> None:
    limits = read(written(file, SHIPPED.read_text()), MACHINE)
    assert limits.hours is not None
    assert (limits.hours.zone_name, limits.hours.stops, len(limits.hours.windows)) == ("Europe/Berlin", True, 7)
    assert limits.adapters == Choice(frozenset({"llama.cpp", "whisper.cpp"}), frozenset({"external"}))
    assert limits.devices == Choice(deny=frozenset({"0000:65:00.0"}))
    assert (limits.memory_bytes, limits.memory_per_runtime_bytes) == (12 << 30, 8 << 30)
    assert (limits.max_runtimes, limits.modes) == (4, frozenset(ExecutionMode))
    assert (limits.default_mode, limits.container_tool) == (ExecutionMode.NATIVE, "")
    assert limits.grace == timedelta(seconds=60)
    assert limits.prompt_cache_bytes == PROMPT_CACHE_BYTES
    assert limits.sandbox == Sandbox(use=("/srv/engines",), write=("/srv/out",), required=("landlock-files",))


def test_an_owner_may_keep_prompts_off_the_disk(file: Path) -> None:
    assert read(written(file, 'prompt_cache = "off"\n'), MACHINE).prompt_cache_bytes == 0
    assert read(written(file, 'prompt_cache = "512MiB"\n'), MACHINE).prompt_cache_bytes == 512 << 20
    assert read(written(file, ""), MACHINE).prompt_cache_bytes == PROMPT_CACHE_BYTES


def test_what_the_owner_says_of_the_sandbox_is_carried_as_it_is(file: Path) -> None:
    words = """[sandbox]
user = "arw-engine"
use = ["/opt/tts"]
required = ["own-user"]
off = ["memory-limit"]
process_limit = 0
"""
    expected = Sandbox("arw-engine", ("/opt/tts",), (), ("own-user",), ("memory-limit",), 0)
    assert read(written(file, words), MACHINE).sandbox == expected


def test_what_the_owner_says_of_modes_is_carried_as_it_is(file: Path) -> None:
    words = 'modes = ["container", "native"]\ndefault_mode = "container"\ncontainer_tool = "/usr/bin/podman"\n'
    limits = read(written(file, words), MACHINE)
    assert limits.modes == frozenset(ExecutionMode)
    assert (limits.default_mode, limits.container_tool) == (ExecutionMode.CONTAINER, "/usr/bin/podman")


def test_the_default_mode_is_one_that_the_owner_allows(file: Path) -> None:
    assert read(written(file, 'modes = ["container"]\n'), MACHINE).default_mode is ExecutionMode.CONTAINER
    assert read(written(file, "modes = []\n"), MACHINE).default_mode is ExecutionMode.NATIVE


def test_an_empty_file_limits_nothing(file: Path) -> None:
    assert read(written(file, "# nothing\n"), MACHINE) == Limits(file=str(file))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("\n[adapters]\ndenny = []\n", "line 3: adapters.denny is not known; did you mean 'deny'?"),
        ("max_runtime = 1\n", "line 1: max_runtime is not known; did you mean 'max_runtimes'?"),
        ("max_runtimes = -1\n", "line 1: max_runtimes must be"),
        ('[adapters]\ndeny = ["lama.cpp"]\n', "does not know the adapter 'lama.cpp'; did you mean 'llama.cpp'?"),
        ('[devices]\nallow = ["gpu"]\n', "line 2: devices.allow does not know 'gpu'"),
        ('[memory]\ntotal = "lots"\n', 'line 2: memory.total must be an amount such as "24GiB" or "75%"'),
        ('[memory]\ntotal = "101%"\n', "must be at most 100%"),
        ('modes = ["vm"]\n', "line 1: modes"),
        ('default_mode = "vm"\n', "line 1: default_mode"),
        (
            'modes = ["native"]\ndefault_mode = "container"\n',
            "line 2: default_mode is 'container', which modes does not allow",
        ),
        ('\ncontainer_tool = "podman"\n', "line 2: container_tool must be the absolute path of podman or docker"),
        ('container_tool = ""\n', "line 1: container_tool"),
        ('[hours]\ntime_zone = "Mars/Base"\nwindows = ["mon 00:00-24:00"]\n', "does not know the time zone"),
        ('[hours]\ntime_zone = "UTC"\nwindows = ["someday 1-2"]\n', "line 3: hours.windows must be days and times"),
        ('[hours]\ntime_zone = "UTC"\nwindows = ["moon 01:00-02:00"]\n', "does not know the day 'moon'"),
        ('[hours]\ntime_zone = "UTC"\nwindows = ["mon 25:00-26:00"]\n', "does not know the time 25:00"),
        ('[hours]\ntime_zone = "UTC"\nwindows = []\n', "line 3: hours.windows"),
        ('[hours]\ntime_zone = "UTC"\n', "lacks 'windows'"),
        ("max_runtimes =\n", "it is no valid TOML"),
        ('[memory]\nper_runtime = "0"\n', "line 2: memory.per_runtime must be more than nothing"),
        ('[sandbox]\nusr = "x"\n', "line 2: sandbox.usr is not known; did you mean 'user'?"),
        ('[sandbox]\n\nrequired = ["landlock-file"]\n', "line 3: sandbox.required does not know the layer"),
        ('[sandbox]\noff = ["landlock-file"]\n', "did you mean 'landlock-files'?"),
        ('[sandbox]\noff = ["no-new-privileges"]\n', "line 2: sandbox.off does not know the layer"),
        ('[sandbox]\nwrite = ["data"]\n', "line 2: sandbox.write must be absolute paths; 'data' is none"),
        (
            '[sandbox]\nrequired = ["own-user"]\noff = ["own-user"]\n',
            "line 3: sandbox.off names 'own-user', which is required too",
        ),
        ('prompt_cache = "10%"\n', 'line 1: prompt_cache must be an amount such as "2GiB"'),
        ("[sandbox]\nprocess_limit = -1\n", "line 2: sandbox.process_limit must be"),
        ("[sandbox]\nmemory_limit_mib = 1\n", "line 2: sandbox.memory_limit_mib is not known"),
    ],
)
def test_a_fault_is_named_with_key_and_line(file: Path, text: str, said: str) -> None:
    assert said in fault(file, text)


def test_a_file_that_others_may_write_is_not_the_owners_word(file: Path) -> None:
    written(file, "")
    file.chmod(0o666)
    with pytest.raises(UnreadableError, match="others than root"):
        read(file, MACHINE)


def test_a_share_needs_a_known_whole(file: Path) -> None:
    with pytest.raises(UnreadableError, match="memory of this machine is not known"):
        read(written(file, '[memory]\ntotal = "50%"\n'), Machine(0, (), ()))


def a_file(path: Path, *, required: bool = False) -> LimitsFile:
    return LimitsFile(path, MACHINE, lambda: NOW, required=required)


def test_only_a_file_that_was_named_must_be_there(file: Path) -> None:
    assert a_file(file).limits() == Limits()
    assert "No such file" in a_file(file, required=True).limits().unreadable


async def test_a_change_is_read_told_and_in_the_journal(file: Path) -> None:
    watched = a_file(written(file, "max_runtimes = 1\n"))
    changed = asyncio.Event()
    watched.on_change(changed.set)
    with capture_logs() as journal:
        task = asyncio.create_task(watched.run())
        await asyncio.sleep(0)
        written(file, "max_runtimes = 2\n")
        watched.reload()
        async with asyncio.timeout(10):
            await changed.wait()
        assert watched.limits().max_runtimes == 2
        changed.clear()
        await asyncio.to_thread(file.unlink)
        watched.reload()
        async with asyncio.timeout(10):
            await changed.wait()
        assert watched.limits() == Limits()
        changed.clear()
        written(file, "max_runtimes = many\n")
        async with asyncio.timeout(10):  # nobody says so this time
            await changed.wait()
        task.cancel()
    assert watched.limits().unreadable.startswith("it is no valid TOML")
    assert watched.limits().max_runtimes is None
    events = [entry["event"] for entry in journal]
    assert events == ["limits_read", "limits_read", "limits_read", "limits_unreadable"]


async def test_the_offer_says_what_the_owner_denies_and_changes_with_it(file: Path) -> None:
    watched = a_file(written(file, '[adapters]\ndeny = ["llama.cpp"]\n'))
    hardware = FixedInventory()
    offer = LimitedHardware(
        hardware, watched, "n1", MACHINE.adapters, lambda: NOW, sandbox=layers_here, execution=lambda _: ()
    )
    told: list[Inventory] = []
    heard = asyncio.Event()
    offer.on_change(told.append)
    offer.on_change(lambda _: heard.set())
    first = await offer.inventory()
    assert first.limits.denied_adapters == ("llama.cpp",)
    assert (first.limits.file, first.limits.closed) == (str(file), None)
    task = asyncio.create_task(watched.run())
    await asyncio.sleep(0)
    written(file, "colour = 1\n")
    watched.reload()
    async with asyncio.timeout(10):
        await heard.wait()
    task.cancel()
    assert [layer for layer in first.sandbox if layer.in_force]
    assert not [layer for layer in told[-1].sandbox if layer.in_force]
    closed = told[-1].limits.closed
    assert closed is not None
    assert closed.reason == "LOCAL_POLICY_DENIED"
    assert "line 1: colour is not known" in closed.text
    assert "owner of node n1" in closed.remedy
    hardware.now = NodeUsage(battery_percent=3.0)
    assert offer.usage() == hardware.now
    hardware.listeners[0](INVENTORY)
    assert told[-1].limits.closed == closed
