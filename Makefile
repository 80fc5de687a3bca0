# The two commands that matter: `make run` and `make test`. Everything that they need is made on the way.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
ON_TWO_CORES := -n 2 --dist loadfile --no-loadscope-reorder

# No root, no network, no other process, no tool of the system.
UNIT := "not soak and not end_to_end and not system"

# The package as it is shipped, with a compiled hot path (setup.py), in a folder of its own: beside a source, a compiled
# module would hide what is edited. PYTHONSAFEPATH keeps `python -m` from looking in the checkout first.
COMPILED := build/compiled
IN_COMPILED := PYTHONSAFEPATH=1 PYTHONPATH=$(CURDIR)/$(COMPILED):$(CURDIR)
COMPILED_PYTEST := $(IN_COMPILED) $(BIN)/python -m pytest --compiled -o pythonpath=
# The image's test compiles the same once more, in another locale (tests/tools/bases.Dockerfile).
CCACHE := CC="ccache gcc" CCACHE_SLOPPINESS=locale CCACHE_DIR=$(CURDIR)/build/ccache
CACHED := $(if $(shell command -v ccache 2>/dev/null),$(CCACHE))
SOURCES := setup.py pyproject.toml $(shell find -L rokuga -type f -not -path '*/__pycache__/*')
# What else runs on the plain sources, which is what a source install runs: the tests of what is compiled, and one daemon.
HOT_TESTS := tests/test_compiled.py $(addprefix tests/recorder/,rtp codecs sync webrtc) \
  $(wildcard tests/recorder/test_track*.py) \
  tests/recorder/archive/webm $(addprefix tests/recorder/archive/test_,archiver.py containers.py stalls.py sync.py) \
  tests/end_to_end/test_own_publisher.py

.PHONY: run demo test check compiled images unit coverage soak fuzz bench clean

run: $(READY)
	$(BIN)/rokuga run

demo: $(READY)
	$(BIN)/rokuga demo

test: $(READY)
	tests/tools/install.sh
	$(MAKE) --no-print-directory --jobs 2 check compiled images
	$(BIN)/python -m pytest -m "not soak and not alone" $(ON_TWO_CORES) $(HOT_TESTS)
	$(COMPILED_PYTEST) -m "not soak and not alone" $(ON_TWO_CORES)
	$(COMPILED_PYTEST) -m "not soak and alone"

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy -p rokuga
	$(BIN)/mypy tests benchmarks setup.py
	$(BIN)/lint-imports

unit: $(READY)
	$(BIN)/python -m pytest -m $(UNIT) $(ON_TWO_CORES)

# By one process: the workers of pytest-xdist are not measured.
coverage: $(READY)
	$(BIN)/coverage run -m pytest -m $(UNIT)
	$(BIN)/coverage report

soak: compiled
	tests/tools/install.sh
	$(COMPILED_PYTEST) -m soak --timeout 3600

FUZZ_S ?= 60

fuzz: $(READY)
	$(BIN)/python -m pip install --quiet 'atheris>=3,<4'
	$(BIN)/python -m tests.fuzz.targets $(FUZZ_S)

bench: compiled
	$(IN_COMPILED) $(BIN)/python -m benchmarks.publishers awake 1 20 100

clean:
	rm -rf $(VENV) .tools build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

compiled: $(COMPILED)/ready

$(COMPILED)/ready: $(READY) $(SOURCES)
	rm -rf build/lib* build/wheel $(COMPILED)
	$(CACHED) ROKUGA_COMPILED=1 $(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir build/wheel .
	$(BIN)/python -m pip install --quiet --no-deps --target $(COMPILED) build/wheel/rokuga-*.whl
	touch $@

# What the Dockerfiles begin with, for the tests of the images.
images:
	tests/tools/base_images.sh

$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)  # one that is there keeps its interpreter
	$(BIN)/python -m pip install --quiet --upgrade pip
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $(READY)
