# Two commands do everything on a machine with Python 3.11 and make:
#   make train    install what training needs, train the default language model into runs/
#   make test     install everything, run the tests
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin

.PHONY: train test slow check mutation docs clean

train: .venv/train.installed
	$(BIN)/rnnjax train $(ARGS)

test: .venv/dev.installed
	$(BIN)/pytest -n auto --dist loadfile $(ARGS)

# The long versions; their logs are committed under tests/logs/.
slow: .venv/dev.installed
	RNNJAX_SLOW=1 $(BIN)/pytest -m slow $(ARGS)

check: .venv/dev.installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright

# Plants known faults in a copy of the package: each must make a test fail.
mutation: .venv/dev.installed
	$(BIN)/python tests/mutation.py

docs: .venv/dev.installed
	$(BIN)/python docs/make_api.py

clean:
	rm -rf .venv .hypothesis .pytest_cache .ruff_cache

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/%.installed: .venv/bin/python pyproject.toml
	$(BIN)/python -m pip install -qq --disable-pip-version-check -e '.[$*]'
	touch $@
