# One command is CI: `make ci`. A newcomer needs two: `make demo` and `make test`.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
UV     := $(BIN)/uv
STAMP  := $(VENV)/.installed
MODEL  := build/models/tiny-chat.gguf
SPEECH_MODEL := build/models/tiny-whisper.bin
PROJECTOR := build/models/tiny-projector.gguf
PACKAGES := arw_client arwctl control_plane gateway gen node_agent wire
PY_DIRS := arw_client arwctl benchmarks control_plane gateway node_agent tests wire

# Tests of whole processes share the machine with whatever else it does: one that fails is asked again, and its
# failure is shown also when it passes then; three a suite, no more.
AGAIN := --reruns 1 --max-suite-reruns 3 --rerun-show-tracebacks

export GRPC_ENABLE_FORK_SUPPORT := 0

.PHONY: setup demo demo-audio demo-vision check lint types contracts proto proto-check schemas unit test drills soak ci runtime-smoke runtime-smoke-vision lock clean

# Whatever starts first finds its modules compiled: from their sources it takes twice as long.
setup: $(STAMP) $(MODEL) $(SPEECH_MODEL) $(PROJECTOR)
	@$(BIN)/python -m compileall -q $(PACKAGES)

$(UV): requirements/uv.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.11 ..."; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "python3 cannot make a virtual environment: install your system's python3-venv package"; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@touch $(UV)

$(STAMP): $(UV) requirements/lock.txt pyproject.toml
	@$(UV) pip sync --quiet --compile-bytecode --python $(BIN)/python --require-hashes requirements/lock.txt
	@$(UV) pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements/uv.txt
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $(STAMP)

# The tiny models say one known sentence; they are made here, never downloaded.
$(MODEL): arwctl/tiny_model.py | $(STAMP)
	@mkdir -p $(dir $(MODEL))
	@$(BIN)/python -m arwctl.tiny_model $(MODEL)

$(SPEECH_MODEL): arwctl/tiny_speech_model.py | $(STAMP)
	@mkdir -p $(dir $(SPEECH_MODEL))
	@$(BIN)/python -m arwctl.tiny_speech_model $(SPEECH_MODEL)

$(PROJECTOR): arwctl/tiny_projector.py | $(STAMP)
	@mkdir -p $(dir $(PROJECTOR))
	@$(BIN)/python -m arwctl.tiny_projector $(PROJECTOR)

demo: setup
	@$(BIN)/arwctl demo

demo-audio: setup
	@$(BIN)/arwctl demo audio

demo-vision: setup
	@$(BIN)/arwctl demo vision

check: setup lint types contracts proto-check unit

lint: $(STAMP)
	$(BIN)/ruff format --check $(PY_DIRS)
	$(BIN)/ruff check $(PY_DIRS)

types: $(STAMP)
	$(BIN)/mypy $(PY_DIRS)

contracts: $(STAMP)
	$(BIN)/lint-imports

unit: setup
	$(BIN)/pytest -q -n 2 tests/unit tests/contract

# Regenerates gen/ and arw_client/_generated/ from proto/.
proto: $(STAMP)
	$(BIN)/python proto/generate.py

proto-check: $(STAMP)
	$(BIN)/buf lint
	$(BIN)/buf format --exit-code --diff > /dev/null
	$(BIN)/python proto/generate.py --check

# Regenerates configs/schemas/ and docs/api/ from the shapes of the documents; a test fails when they are out of date.
schemas: $(STAMP)
	$(BIN)/python configs/schemas/generate.py
	$(BIN)/python -m control_plane.http.publish docs/api

test: check
	$(BIN)/pytest -q -n 3 $(AGAIN) tests/integration tests/e2e

# Most of a drill is waiting. Those that need the machine to themselves come last.
drills: setup
	$(BIN)/pytest -q -n 2 --dist loadfile $(AGAIN) -m "not alone" tests/drills
	$(BIN)/pytest -q $(AGAIN) -m alone tests/drills

soak: setup
	$(BIN)/pytest -q tests/soak

runtime-smoke: setup
	@$(BIN)/python -m tests.smoke.runtime_smoke

runtime-smoke-vision: setup
	@ARW_SMOKE_MODE=vision $(BIN)/python -m tests.smoke.runtime_smoke

ci: test drills

lock: $(UV)
	$(UV) pip compile --quiet --python-version 3.11 --universal --generate-hashes --no-emit-index-url --no-header --upgrade requirements/uv.in -o requirements/uv.txt
	$(UV) pip compile --quiet --python-version 3.11 --universal --generate-hashes --no-emit-index-url --no-header --no-annotate --upgrade pyproject.toml --all-extras --group dev -o requirements/lock.txt

clean:
	rm -rf $(VENV) build .smoke
