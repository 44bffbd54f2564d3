# Two commands: `make demo` shows a trained model forget a class, `make test` runs every check.
# Both set up everything they need in .venv; a Python of at least 3.11 is all that must be there.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test test-fast lint types unit format build clean
.DELETE_ON_ERROR:

demo: $(VENV)/.installed
	$(BIN)/unlearnkit demo --out demo --overwrite

test: lint types unit

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/.dev
	$(BIN)/mypy

unit: $(VENV)/.dev
	$(BIN)/python -m pytest -n logical --dist loadgroup

# for the time of writing: all but what trains at length, starts processes or opens a browser
test-fast: $(VENV)/.dev
	$(BIN)/python -m pytest -n logical --dist loadgroup -m "not slow and not browser"

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

build: $(VENV)/.dev
	$(BIN)/python -m build

clean:
	rm -rf $(VENV) demo dist build .pytest_cache .mypy_cache .ruff_cache

$(VENV)/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "unlearnkit needs Python 3.11 or newer, but '$(PYTHON)' is older; run: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/.dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --group dev
	touch $@
