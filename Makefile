# `make demo` and `make test` set themselves up; each needs only python3 (3.11 or later) and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PACKAGE := pyproject.toml constraints.txt

# Frameworks whose adapters have tests of their own: they pin against each other.
FRAMEWORKS := mcp skyrl trl verifiers openenv verl rllib kernel_tuner rliable

.PHONY: integrations demo test test-all check docs clean

# An agent improves the softmax kernel, on the GPU if there is one, else on the simulated device.
demo: $(VENV)/.demo
	$(BIN)/triton-gym run evolution TritonKernel-softmax-v0 --steps 60 --seed 0 --out runs/demo

# A file's tests on one processor, in the order of tests/conftest.py: files that take longest first.
SPREAD := -n 2 --dist loadfile --no-loadscope-reorder

test: $(VENV)/.test
	$(BIN)/python -m pytest $(SPREAD) $(ARGS)

# The same, slow tests, and of every task what `make test` checks of a sample.
test-all: $(VENV)/.test
	$(BIN)/python -m pytest $(SPREAD) --all-tasks $(ARGS)

check: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy -p agents

$(VENV)/.python:
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.demo: $(VENV)/.python $(PACKAGE)
	$(BIN)/python -m pip install --quiet -e '.[report]' -c constraints.txt
	touch $@

$(VENV)/.test: $(VENV)/.python $(PACKAGE)
	$(BIN)/python -m pip install --quiet -e '.[dev,sb3,grpo,trl,parquet,report,bench]' -c constraints.txt
	touch $@ $(VENV)/.demo

# The site, in build/docs/html: warnings are errors, and links within it are checked.
docs: $(VENV)/.docs
	$(BIN)/python -m sphinx -q -W --keep-going -b html -d build/docs/doctrees docs build/docs/html
	$(BIN)/python -m sphinx -q -W --keep-going -b linkcheck -d build/docs/doctrees docs build/docs/links

$(VENV)/.docs: $(VENV)/.test
	$(BIN)/python -m pip install --quiet -e '.[docs]' -c constraints.txt
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info

# Each adapter with its framework, in a virtual environment of its own (docs/integrations.md): two
# at a time, since each waits for packages and processes half of its time.
integrations:
	$(MAKE) --no-print-directory --keep-going --jobs 2 --output-sync=target $(FRAMEWORKS:%=integration-%)

integration-%:
	$(PYTHON) -m venv .integrations/$*
	.integrations/$*/bin/python -m pip install --quiet --no-compile -e '.[$(subst _,-,$*)]' pytest pytest-timeout \
		-c tests/integrations/constraints.txt
	TRITON_GYM_INTEGRATION=$* .integrations/$*/bin/python -m pytest -q --all-tasks \
		tests/integrations/test_$*.py
