# Two commands: `make demo` shows a trained model forget a class, `make test` runs every check.
# Both set up everything they need in .venv; a Python of at least 3.11 is all that must be there.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LOWEST := .venv-lowest

.PHONY: demo test test-fast test-lowest lint types docs unit lint-docs compiled format hooks build clean
.DELETE_ON_ERROR:

# What is imported is compiled then, and kept: pip would compile 20,000 files of which most are never imported. With this
# variable each process that a test starts would compile the package once more.
unexport PYTHONDONTWRITEBYTECODE
INSTALL := pip install --quiet --no-compile
# tests/conftest.py says in which order
PYTEST := pytest -n logical --dist loadgroup --no-loadscope-reorder

demo: $(VENV)/.installed
	$(BIN)/unlearnkit demo --out demo --overwrite

# What reads files alone is installed first, and runs while pip unpacks the package's dependencies, which takes one core;
# these are compiled while it unpacks those of the tests; then mypy and the tests. One that fails ends with an error.
test: $(VENV)/.tools
	$(MAKE) -j2 lint-docs $(VENV)/.installed
	$(MAKE) -j2 compiled $(VENV)/.dev
	UNLEARNKIT_SITE=$(CURDIR)/site $(MAKE) -j2 types unit

lint-docs:
	$(MAKE) -j1 lint docs

lint: $(VENV)/.tools
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/bandit --quiet --recursive --configfile pyproject.toml src scripts

types: $(VENV)/.dev
	$(BIN)/mypy

# The documentation, into site/; a dead link or an undocumented page is an error. Nothing is fetched.
docs: $(VENV)/.tools
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# What both processes of `unit` import at the same moment, each would compile, too: torch most of all.
compiled: $(VENV)/.installed
	$(BIN)/python -c "import torch._dynamo, torch.distributed.nn, sklearn.datasets, sklearn.linear_model, sklearn.svm, sklearn.metrics, scipy.stats, unlearnkit.cli, unlearnkit.steps.forget"

unit: $(VENV)/.dev
	$(BIN)/python -m $(PYTEST)

# for the time of writing: all but what takes half a second, starts processes or opens a browser
test-fast: $(VENV)/.dev
	$(BIN)/python -m $(PYTEST) -m "not slow and not browser"

# The fast tests with the lowest version that pyproject.toml allows of each dependency.
test-lowest: $(LOWEST)/.installed
	$(LOWEST)/bin/python -m $(PYTEST) -m "not slow and not browser"

# Run the formatter, the linters and mypy before each commit.
hooks: $(VENV)/.dev
	$(BIN)/pre-commit install

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

build: $(VENV)/.dev
	$(BIN)/python -m build

clean:
	rm -rf $(VENV) $(LOWEST) demo dist build site .pytest_cache .mypy_cache .ruff_cache

$(VENV)/.python: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "unlearnkit needs Python 3.11 or newer, but '$(PYTHON)' is older; run: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	touch $@

$(VENV)/.installed: $(VENV)/.python
	$(BIN)/python -m $(INSTALL) --editable .
	touch $@

$(VENV)/.tools: $(VENV)/.python
	$(BIN)/python -m $(INSTALL) --group lint --group docs
	touch $@

$(VENV)/.dev: $(VENV)/.tools $(VENV)/.installed
	$(BIN)/python -m $(INSTALL) --group dev
	touch $@

$(LOWEST)/.installed: pyproject.toml scripts/lowest.py
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet --upgrade "pip>=25.1" packaging
	$(LOWEST)/bin/python scripts/lowest.py > $(LOWEST)/constraints.txt
	$(LOWEST)/bin/python -m $(INSTALL) --constraint $(LOWEST)/constraints.txt --editable . --group test
	touch $@
