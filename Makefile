# Two commands do everything on a machine with Python 3.11 or newer and make:
#   make train    install what training needs, train the default language model into runs/
#   make test     install everything, run the tests
# A third one measures: make bench, in less than 20 minutes, into benchmarks/results/.
# They use .venv. With an interpreter of your choice they use a folder of its own, beside it:
#   make test PYTHON=python3.13
PYTHON ?= python3.11 python3
INTERPRETER := $(shell .ci/python $(PYTHON))
ifeq ($(INTERPRETER),)
  $(error none of these runs: $(PYTHON))
endif
ifeq ($(origin PYTHON),file)
  VENV := .venv
else
  VENV := .venv-$(shell $(INTERPRETER) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
endif
BIN := $(VENV)/bin

# Byte code is written when a file is first imported, so pip need not compile all there is.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: install train test bench slow check mutation docs notebooks clean

train: $(VENV)/train.installed
	$(BIN)/rnnjax train $(ARGS)

install: $(VENV)/dev.installed

test: install
	$(BIN)/pytest -n auto --dist worksteal $(ARGS)

bench: install
	$(BIN)/python benchmarks/bench.py standard $(ARGS)

# Everything long: all tests in their long versions, whose logs are in tests/logs/, all planted faults,
# and the whole suite on the newest Python.
slow: install
	RNNJAX_SLOW=1 $(MAKE) test
	$(MAKE) mutation
	$(MAKE) test PYTHON="python3.13 python3.12"

check: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright --pythonpath $(BIN)/python

# Plants known faults in a copy of the package: each must make a test fail.
mutation: install
	$(BIN)/python tests/mutation.py $(ARGS)

# Executes the notebooks and writes them with what they showed.
notebooks: install
	$(BIN)/python notebooks/execute.py $(ARGS)

# Writes the pages that come from code, and the site with them into site/.
docs: install
	$(BIN)/python docs/make_api.py
	$(BIN)/python docs/make_cells.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean:
	rm -rf site .venv .venv-* .jax_cache .hypothesis .pytest_cache .ruff_cache

$(VENV)/bin/python:
	$(INTERPRETER) -m venv $(VENV)

$(VENV)/%.installed: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install -qq --no-compile --disable-pip-version-check -e '.[$*]'
	touch $@
