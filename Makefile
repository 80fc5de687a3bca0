# The two commands that matter: `make run` and `make test`. Everything that they need is made on the way.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
ON_TWO_CORES := -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: run demo test check unit soak fuzz bench clean

run: $(READY)
	$(BIN)/rokuga run

demo: $(READY)
	$(BIN)/rokuga demo

test: check
	tests/tools/install.sh
	$(BIN)/python -m pytest -m "not soak and not alone" $(ON_TWO_CORES)
	$(BIN)/python -m pytest -m "not soak and alone"

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy -p rokuga
	$(BIN)/mypy tests benchmarks
	$(BIN)/lint-imports

unit: $(READY)
	$(BIN)/python -m pytest -m "not soak and not end_to_end" $(ON_TWO_CORES)

soak: $(READY)
	tests/tools/install.sh
	$(BIN)/python -m pytest -m soak --timeout 3600

FUZZ_S ?= 60

fuzz: $(READY)
	$(BIN)/python -m pip install --quiet 'atheris>=3,<4'
	$(BIN)/python -m tests.fuzz.targets $(FUZZ_S)

bench: $(READY)
	$(BIN)/python -m benchmarks.publishers 1 20 100

clean:
	rm -rf $(VENV) .tools build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $(READY)
