from __future__ import annotations

import contextlib
import json
import tomllib
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.domain.accelerator import AcceleratorKind
from control_plane.domain.errors import ManifestInvalid
from control_plane.domain.execution import ExecutionMode, ExecutionSettings
from control_plane.domain.ids import ModelId
from control_plane.domain.manifest import Manifest, ManifestFile, ManifestForm, ManifestModel
from control_plane.domain.runtime import (
    NO_MODEL,
    EngineSettings,
    ExternalSettings,
    HealthCheck,
    MissingAccelerator,
    Modality,
    ProcessSettings,
    RestartPolicy,
)
from control_plane.manifests.read_settings import ACCELERATORS
from control_plane.manifests.reader import Reader
from wire.positions import json_lines, line_of, toml_lines

WHOLE = """\
version = 1

[[models]]
id = "tiny"
path = "/models/tiny.gguf"

[[runtimes]]
id = "llama.cpp-preview/linux-x86_64-cpu"
adapter = "llama.cpp"
name = "Chat"
model = "tiny"
profile = "balanced"
modalities = ["text", "vision"]
accelerator = "cuda"
on_missing_accelerator = "fail"
auto_start = true
preset = "quick"
tags = { tier = "a", "x.y" = "b" }
modes = ["container", "native"]
preferred_mode = "container"
image = "ghcr.io/ggml-org/llama.cpp:server-b11549"
[runtimes.settings]
context_length = 4096
slots = 2
threads = 4
gpu_layers = 0
batch_size = 512
embeddings = true
pooling = "mean"
warm_up = false
[runtimes.restart]
max_restarts = 5
window_seconds = 60
[runtimes.node_selector]
site = "berlin"
"""

SMALL = 'version = 1\n[[runtimes]]\nid = "a"\nadapter = "llama.cpp"\nmodel = "tiny"\n'


def read(text: str | bytes, form: ManifestForm = ManifestForm.TOML) -> Manifest:
    return Reader().read(text.encode() if isinstance(text, str) else text, form, "m.toml")


def faults(text: str | bytes, form: ManifestForm = ManifestForm.TOML) -> list[str]:
    with pytest.raises(ManifestInvalid) as caught:
        read(text, form)
    said = caught.value
    assert said.text.startswith("m.toml is refused: ")
    assert said.remedy
    return [said.metadata[f"fault_{number}"] for number in range(1, int(said.metadata["faults"]) + 1)]


def test_every_key_is_read() -> None:
    manifest = read(WHOLE)
    assert manifest.models == (ManifestModel(ModelId("tiny"), ManifestFile("/models/tiny.gguf"), line=3),)
    (entry,) = manifest.runtimes
    assert entry.id == "llama.cpp-preview/linux-x86_64-cpu"
    assert entry.line == 7
    spec = entry.spec
    assert (spec.adapter, spec.display_name, spec.model, spec.profile) == ("llama.cpp", "Chat", "tiny", "balanced")
    assert spec.modalities == (Modality.TEXT, Modality.VISION)
    assert spec.accelerator is AcceleratorKind.GPU_CUDA
    assert spec.on_missing_accelerator is MissingAccelerator.FAIL
    assert spec.auto_start
    assert spec.preset == "quick"
    assert spec.tags == {"tier": "a", "x.y": "b"}
    assert spec.settings == EngineSettings(4096, 2, 4, 0, 512, True, "mean", False)
    assert spec.restart == RestartPolicy(5, timedelta(seconds=60))
    assert spec.node_selector == {"site": "berlin"}
    assert spec.execution == ExecutionSettings(
        (ExecutionMode.NATIVE, ExecutionMode.CONTAINER),
        ExecutionMode.CONTAINER,
        "ghcr.io/ggml-org/llama.cpp:server-b11549",
    )


def test_what_is_left_out_has_its_default() -> None:
    spec = read(SMALL).runtimes[0].spec
    assert spec.settings == EngineSettings()
    assert spec.restart == RestartPolicy()
    assert spec.modalities == (Modality.TEXT,)
    assert spec.accelerator is AcceleratorKind.UNSPECIFIED
    assert spec.on_missing_accelerator is MissingAccelerator.DEGRADE
    assert not spec.auto_start
    assert spec.execution == ExecutionSettings()


def test_what_a_prompt_cache_shall_hold_is_read() -> None:
    settings = read(f'{SMALL}[runtimes.settings]\nwarm_up_prompts = ["You are terse."]\nprompt_cache = "songs"\n')
    assert settings.runtimes[0].spec.settings == EngineSettings(
        warm_up_prompts=("You are terse.",), prompt_cache="songs"
    )


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ("warm_up_prompts = ['']", "runtimes[0].settings.warm_up_prompts: must have a length >= 1"),
        (f"warm_up_prompts = {['x'] * 9}", "must be a list of length <= 8"),
        (f"warm_up_prompts = ['{'é' * 8193}']", "must have at most 16384 bytes"),
        ("warm_up_prompts = ['x']\nembeddings = true", "is for engines that generate"),
        ("prompt_cache = 'songs'", "needs warm_up_prompts"),
        ("warm_up_prompts = ['x']\nprompt_cache = '../songs'", "runtimes[0].settings.prompt_cache"),
    ],
)
def test_what_no_prompt_cache_can_hold_is_a_fault(settings: str, fault: str) -> None:
    assert any(fault in said for said in faults(f"{SMALL}[runtimes.settings]\n{settings}\n"))


def test_json_says_the_same_as_toml() -> None:
    import tomllib

    from_json = read(json.dumps(tomllib.loads(WHOLE)), ManifestForm.JSON)
    assert from_json.runtimes[0].spec == read(WHOLE).runtimes[0].spec


@pytest.mark.parametrize("word", sorted(ACCELERATORS))
def test_every_accelerator_slug_and_alias_is_known(word: str) -> None:
    spec = read(SMALL + f'accelerator = "{word}"\n').runtimes[0].spec
    assert word in spec.accelerator.value or word == "npu"


@pytest.mark.parametrize("name", ["tiny/q4", "models/tiny__q4"])
def test_a_model_is_named_by_its_id_or_its_resource_name(name: str) -> None:
    assert read(SMALL.replace('"tiny"', f'"{name}"')).runtimes[0].spec.model == "tiny/q4"


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("slot = 2", "line 6: runtimes[0].slot: is not known"),
        ('modell = "a"', "line 6: runtimes[0].modell: is not known; did you mean 'model'?"),
        ("auto_start = 1", "line 6: runtimes[0].auto_start: must be bool, not int"),
        ("[runtimes.settings]\nslots = '2'", "line 7: runtimes[0].settings.slots: must be int, not text"),
        ("[runtimes.settings]\nslots = 0", "line 7: runtimes[0].settings.slots: must be int >= 1"),
        ("settings.slots = true", "line 6: runtimes[0].settings.slots: must be int, not bool"),
        (
            "[runtimes.settings]\n\n\nslotz = 2",
            "line 9: runtimes[0].settings.slotz: is not known; did you mean 'slots'?",
        ),
        ("settings = 3", "line 6: runtimes[0].settings: must be a table, not a number"),
        ('modalities = ["text", "smell"]', "line 6: runtimes[0].modalities: does not know 'smell' (at [1])"),
        ("modalities = []", "line 6: runtimes[0].modalities: must be a list of length >= 1"),
        ('modalities = ["text", "text"]', "line 6: runtimes[0].modalities: names a modality twice"),
        ('modes = ["native", "vm"]', "line 6: runtimes[0].modes: does not know 'vm' (at [1])"),
        ('modes = ["native", "native"]', "line 6: runtimes[0].modes: names a mode twice"),
        ('preferred_mode = "vm"', "line 6: runtimes[0].preferred_mode: does not know 'vm'"),
        (
            'modes = ["native"]\npreferred_mode = "container"',
            "line 7: runtimes[0].preferred_mode: is 'container', which is not among modes",
        ),
        (
            'modes = ["native"]\nimage = "llama:1"',
            "line 7: runtimes[0].image: is for containers, and 'container' is not among modes",
        ),
        ('on_missing_accelerator = "pray"', "line 6: runtimes[0].on_missing_accelerator: does not know 'pray'"),
        ("tags = { a = 1 }", "line 6: runtimes[0].tags: must be text, not int (at [...])"),
        ('[runtimes.settings]\npooling = "mean"', "line 7: runtimes[0].settings.pooling: needs embeddings = true"),
        ("[runtimes.restart]\nmax_restarts = -1", "line 7: runtimes[0].restart.max_restarts: must be int >= 0"),
        ('[runtimes.node_selector]\n"B!" = "x"', "line 6: runtimes[0].node_selector: label key 'B!' is not allowed"),
    ],
)
def test_a_fault_names_its_line_and_key(line: str, fault: str) -> None:
    assert faults(SMALL + line + "\n") == [fault]


def test_an_unknown_accelerator_is_refused_with_the_known_ones() -> None:
    (fault,) = faults(SMALL + 'accelerator = "tpu"\n')
    assert fault.startswith("line 6: runtimes[0].accelerator: does not know 'tpu'; known are coreml, cpu, cuda, ")


def test_every_fault_of_a_file_is_named_in_order() -> None:
    text = 'version = 1\n[[runtimes]]\nid = "a"\nfoo = 1\n[[runtimes]]\nadapter = 5\nmodel = "m"\n'
    assert faults(text) == [
        "line 2: runtimes[0]: lacks 'adapter'",
        "line 4: runtimes[0].foo: is not known",
        "line 5: runtimes[1]: lacks 'id'",
        "line 6: runtimes[1].adapter: must be text, not int",
    ]


def test_many_faults_are_counted_and_the_first_twenty_shown() -> None:
    with pytest.raises(ManifestInvalid) as caught:
        read("version = 1\n" + "".join(f"k{number} = 1\n" for number in range(30)))
    assert caught.value.metadata["faults"] == "30"
    assert "fault_20" in caught.value.metadata
    assert "fault_21" not in caught.value.metadata
    assert "and 10 more" in caught.value.text


def test_an_id_that_stands_twice_is_refused() -> None:
    assert faults(SMALL + SMALL.removeprefix("version = 1\n")) == ["line 7: runtimes[1].id: 'a' stands twice"]


@pytest.mark.parametrize("bad", ["A", "a__b", "", "-a", "a" * 129, "a//b"])
def test_a_bad_id_is_refused_with_the_rule(bad: str) -> None:
    (fault,) = faults(SMALL.replace('id = "a"', f'id = "{bad}"'))
    assert fault.startswith("line 3: runtimes[0].id: ")
    assert "is no valid runtime id (Use 1 to 128" in fault


def test_a_bad_model_name_is_refused() -> None:
    (fault,) = faults(SMALL.replace('"tiny"', '"No Model"'))
    assert fault.startswith("line 5: runtimes[0].model: ")


@pytest.mark.parametrize(
    ("version", "fault"),
    [
        ("version = 2", "line 1: version: must be 1, not 2"),
        ("version = true", "line 1: version: must be int, not bool"),
        ("version = '1'", "line 1: version: must be int, not text"),
        ("", "lacks 'version'"),
    ],
)
def test_another_version_is_refused(version: str, fault: str) -> None:
    assert faults(SMALL.replace("version = 1", version)) == [fault]


def test_more_than_a_mebibyte_is_refused_before_it_is_parsed() -> None:
    (fault,) = faults(b"#" * (1024 * 1024 + 1))
    assert "1048577 bytes" in fault
    assert read(SMALL.encode() + b"#" * (1024 * 1024 - len(SMALL))).runtimes


def test_what_is_not_utf8_is_refused_with_its_line() -> None:
    assert faults(b"version = 1\n# \xff\n") == ["line 2: it is not UTF-8"]


def test_broken_text_is_refused_with_its_line() -> None:
    assert faults("version = 1\nid == 2\n") == ["line 2: it is no valid TOML: Invalid value"]
    assert faults('{"version": 1,\n}', ManifestForm.JSON)[0].startswith("line 2, column 1: it is no valid JSON: ")


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("a = " + "[" * 100_000, ManifestForm.TOML),
        ("[" * 100_000, ManifestForm.JSON),
        ("a = " + "9" * 5000, ManifestForm.TOML),
        ('{"version": NaN}', ManifestForm.JSON),
        ('{"version": 1, "version": 1}', ManifestForm.JSON),
        ("[]", ManifestForm.JSON),
        ("null", ManifestForm.JSON),
        ('{"version": 1, "runtimes": {}}', ManifestForm.JSON),
        ('{"version": 1, "runtimes": [null]}', ManifestForm.JSON),
        ("version = 1\nversion = 1\n", ManifestForm.TOML),
        ("a." * 500_000 + "a = 1", ManifestForm.TOML),
        ("x = {" + "a." * 500_000 + "a = 1}", ManifestForm.TOML),
        ("version = 0x" + "f" * 900_000, ManifestForm.TOML),
        (f'version = 1\n"{"k" * 900_000}" = 1', ManifestForm.TOML),
        ("{" + ",".join(f'"k{number}":1' for number in range(80_000)) + ',"k79999":1}', ManifestForm.JSON),
    ],
)
def test_hostile_text_is_refused_in_the_same_way(text: str, form: ManifestForm) -> None:
    assert len(faults(text, form)) == 1


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        ({"name": "a\0b"}, "runtimes[0].name: holds a NUL character"),
        ({"name": "\ud800"}, "runtimes[0].name: holds half of a character (a lone surrogate)"),
        ({"tags": {"\udfff": "x"}}, "runtimes[0].tags: has a key that holds half of a character"),
        ({"settings": {"slots": 1 << 63}}, "runtimes[0].settings.slots: is no number of 64 bits"),
    ],
)
def test_what_no_database_takes_is_a_fault(said: dict[str, Any], fault: str) -> None:
    rows = [{"id": "a", "adapter": "llama.cpp", "model": "tiny", **said}]
    assert fault in faults(json.dumps({"version": 1, "runtimes": rows}), ManifestForm.JSON)[0]


@given(
    st.dictionaries(st.text(max_size=9) | st.sampled_from(["version", "runtimes", "models"]), st.none() | st.text()),
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text() | st.text("\0\ud800.", max_size=3),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
        max_leaves=8,
    ),
)
def test_whatever_is_said_is_read_or_refused(said: dict[str, Any], value: Any) -> None:
    content = json.dumps({"version": 1, "runtimes": [{"id": "a", "adapter": value, "tags": said}], **said}).encode()
    with contextlib.suppress(ManifestInvalid):
        read(content, ManifestForm.JSON)


def test_a_refusal_stays_short_enough_to_travel() -> None:
    rows = [{"id": "é" * 500, "adapter": 1, "x" * 900: 1} for _ in range(50)]
    with pytest.raises(ManifestInvalid) as caught:
        read(json.dumps({"version": 1, "runtimes": rows}), ManifestForm.JSON)
    assert len(caught.value.text.encode()) < 2200
    assert "and " in caught.value.text


def test_too_many_runtimes_are_refused() -> None:
    rows = [{"id": f"r{number}", "adapter": "x", "model": "m"} for number in range(1001)]
    assert faults(json.dumps({"version": 1, "runtimes": rows}), ManifestForm.JSON) == [
        "line 1, column 16: runtimes: has 1001 entries, at most 1000 are allowed"
    ]


def test_faults_of_json_have_lines_and_columns() -> None:
    text = '{\n "version": 1,\n "runtimes": [\n  {"id": "a",\n   "adapter": 3,\n   "model": "m",\n   "x": {}}\n ]\n}'
    assert faults(text, ManifestForm.JSON) == [
        "line 5, column 4: runtimes[0].adapter: must be text, not int",
        "line 7, column 4: runtimes[0].x: is not known",
    ]


def test_a_key_that_stands_twice_in_json_is_named_with_its_second_place() -> None:
    assert faults('{"version": 1,\n "runtimes": [],\n "runtimes": []}', ManifestForm.JSON) == [
        "line 3, column 2: key 'runtimes' stands twice in one table"
    ]
    (fault,) = faults('{"version": 1, "version": 1, oops}', ManifestForm.JSON)
    assert fault.startswith("line 1, column 30: it is no valid JSON: ")


def test_a_key_is_found_however_it_is_spelled() -> None:
    text = '{"version": 1,\n "\\u0066oo": 1}'
    assert faults(text, ManifestForm.JSON) == ["line 2, column 2: foo: is not known"]


def test_lines_are_found_past_strings_comments_and_arrays_over_several_lines() -> None:
    text = '''\
# [[runtimes]]
note = """
[[runtimes]] # = "x"
"""
list = [ # [
  "]",
  { a = "=" },
]
'quoted key' = 1
[[a.b]]
c.d = 1
[a.b.e]
f = 2
[[a.b]]
c.d = 3
'''
    lines = toml_lines(text)
    assert line_of(lines, ("list",)) == 5
    assert line_of(lines, ("quoted key",)) == 9
    assert line_of(lines, ("a", "b", 0, "c", "d")) == 11
    assert line_of(lines, ("a", "b", 0, "e", "f")) == 13
    assert line_of(lines, ("a", "b", 1, "c", "d")) == 15
    assert line_of(lines, ("a", "b", 1, "missing")) == 14
    assert line_of(lines, ("nowhere",)) == 0


@pytest.mark.parametrize(
    "value",
    [
        '"a # b" # "c',
        '"""a\n[[b]]"""',
        '""""\n[[b]]\n"""',
        "[ 1, 2 ] # [",
        '[\n"]",\n]',
        "{ a = { b = 1 } }",
        "{ a = '}' }",
        "1979-05-27T07:32:00Z",
        "'''\nb = 1\n'''",
    ],
)
def test_a_key_after_any_value_has_its_own_line(value: str) -> None:
    text = f"a = {value}\n\n  # b\nz = 1\n"
    assert set(tomllib.loads(text)) == {"a", "z"}
    lines = toml_lines(text)
    assert line_of(lines, ("z",)) == text.count("\n")
    assert ("b",) not in lines


def paths(data: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    match data:
        case dict():
            return [path, *(found for key, value in data.items() for found in paths(value, (*path, key)))]
        case list():
            return [path, *(found for index, value in enumerate(data) for found in paths(value, (*path, index)))]
        case _:
            return [path]


WORDS = st.text("abc{}[]:, ", min_size=1, max_size=4)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(WORDS, VALUES))
def test_every_place_of_a_json_document_has_a_line_that_grows(data: dict[str, Any]) -> None:
    lines = json_lines(json.dumps(data, indent=1))
    known = [path for path in paths(data) if path]
    assert all(line_of(lines, path) > 0 for path in known)
    assert [line_of(lines, path) for path in known] == sorted(line_of(lines, path) for path in known)


PROGRAM = """
version = 1
[[runtimes]]
id = "a"
adapter = "process"
[runtimes.process]
command = ["/opt/serve", "--port", "{port}"]
env = { THREADS = "2" }
working_directory = "/opt"
openai = true
health = { path = "/healthz", expect_status = 204, expect_body = "ok" }
"""
ATTACHED = """
version = 1
[[runtimes]]
id = "a"
adapter = "external"
[runtimes.external]
url = "http://127.0.0.1:11434"
health_path = "/api/version"
model = "llama3:8b"
"""


def test_a_program_and_what_runs_already_are_declared_without_a_model() -> None:
    (program,) = read(PROGRAM).runtimes
    assert program.spec.model == NO_MODEL
    assert program.spec.process == ProcessSettings(
        command=("/opt/serve", "--port", "{port}"),
        env={"THREADS": "2"},
        working_directory="/opt",
        health=HealthCheck("/healthz", 204, "ok"),
        openai=True,
    )
    (attached,) = read(ATTACHED).runtimes
    assert attached.spec.external == ExternalSettings("http://127.0.0.1:11434", "/api/version", "llama3:8b")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (PROGRAM.replace("/opt/serve", "serve"), "must begin with the absolute path of a program"),
        (PROGRAM.replace('"{port}"', '"1"'), "must say where {port} goes"),
        (PROGRAM.replace('"/opt"', '"opt"'), "must be an absolute path"),
        (PROGRAM.replace("THREADS", '"A B"'), "runtimes[0].process.env"),
        (PROGRAM.replace('"process"', '"llama.cpp"'), "is for the adapter process, not for llama.cpp"),
        (PROGRAM.replace("openai", "opnai"), "did you mean 'openai'"),
        (PROGRAM.replace("expect_body", "expect_words"), "runtimes[0].process.health.expect_words: is not known"),
        (ATTACHED.replace("http:", "https:"), "runtimes[0].external.url"),
        (ATTACHED.replace("11434", "11434/admin"), "runtimes[0].external.url"),
        (ATTACHED.replace("[runtimes.external]", 'model = "m"\n[runtimes.external]'), "external.model names"),
        (ATTACHED.partition("[runtimes.external]")[0], "lacks 'external'"),
        (
            ATTACHED.replace("[runtimes.external]", 'modes = ["native"]\n[runtimes.external]'),
            "runtimes[0].modes: is for",
        ),
        (
            ATTACHED.replace("[runtimes.external]", 'preferred_mode = "native"\n[runtimes.external]'),
            "preferred_mode: is",
        ),
        (ATTACHED.replace("[runtimes.external]", 'image = "x"\n[runtimes.external]'), "runtimes[0].image: is for"),
        (PROGRAM.replace("[runtimes.process]", 'image = "--privileged"\n[runtimes.process]'), "runtimes[0].image"),
        ('version = 1\n[[runtimes]]\nid = "a"\nadapter = "vllm"\n', "lacks 'model': vllm needs one"),
    ],
)
def test_a_section_that_does_not_fit_its_adapter_is_a_fault(text: str, fault: str) -> None:
    assert any(fault in one for one in faults(text)), faults(text)


def test_an_adapter_that_is_not_known_here_is_left_to_the_node() -> None:
    (entry,) = read('version = 1\n[[runtimes]]\nid = "a"\nadapter = "acme.echo"\n').runtimes
    assert entry.spec.adapter == "acme.echo"
