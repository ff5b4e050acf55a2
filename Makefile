# make demo: the main job, end to end.   make test: the tests.   make help: the rest.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# The machine's own uv, or one of ours in .tools.
UV := $(or $(shell command -v uv),.tools/bin/uv)
# The Python that python3 means here, so that uv neither guesses nor downloads one.
export UV_PYTHON ?= $(shell python3 -c 'import os, sys; print(os.path.realpath(sys.executable))')
# Images for containers often set it: each program that a test starts would be compiled anew.
unexport PYTHONDONTWRITEBYTECODE
RUN := $(UV) run --locked
ATTACKS := $(CURDIR)/.tools/attacks.jsonl

.PHONY: help demo test check format bench parity soak docs

help: ## show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 16

demo: $(UV) ## webhooks to PostgreSQL and back to Segment through Meltano, and the books of it
	$(RUN) python examples/demo.py

test: $(UV) ## every test, with a real PostgreSQL and a real Meltano
	$(RUN) pytest -n 4 --dist loadfile --no-loadscope-reorder

check: $(UV) ## format, lint, types, generated docs
	$(UV) lock --check
	$(RUN) ruff format --check
	$(RUN) ruff check
	$(RUN) --group bench mypy
	$(RUN) python tests/harness/docs.py --check

format: $(UV) ## rewrite what a tool can rewrite
	$(RUN) ruff check --fix-only
	$(RUN) ruff format
	$(RUN) python tests/harness/docs.py

bench: $(UV) ## every benchmark against its peers, as ratios
	$(RUN) --group bench python benchmarks/run.py

parity: $(UV) ## our mappings beside Segment's own packages: tests/parity/RESULTS.md
	$(RUN) python tests/parity/run.py

soak: $(UV) ## every attack again, for longer, and what came of it: docs/reliability.md
	mkdir -p .tools && rm -f $(ATTACKS)
	SOAK_ROUNDS=200 ATTACK_REPORT=$(ATTACKS) $(RUN) pytest -m attack -n 2 --dist loadfile \
		&& ended=0 || ended=$$?; $(RUN) python tests/harness/reliability.py $(ATTACKS) && exit $$ended

.tools/bin/uv:
	python3 -m venv .tools
	.tools/bin/python -m pip install --quiet uv
