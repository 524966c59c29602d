# Two commands do everything on a machine with Python 3.11 or newer and make:
#   make train    install what training needs, train the default language model into runs/
#   make test     install everything, run the tests
# Each in an environment of its own, .venv; with PYTHON=python3.13, say, in .venv-3.13.
PYTHON ?= python3.11 python3
VENV := .venv
ifneq ($(origin PYTHON), file)
  VENV := .venv-$(shell $(shell .ci/python $(PYTHON)) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
endif
BIN := $(VENV)/bin

.PHONY: train test slow bitwise check mutation docs clean

train: $(VENV)/train.installed
	$(BIN)/rnnjax train $(ARGS)

test: $(VENV)/dev.installed
	$(BIN)/pytest -n auto --dist worksteal $(ARGS)
