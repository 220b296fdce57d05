# Every command of the project. `make` alone lists them.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python -m
PACKAGES := churn producer stream_processor scorer es_ingest training analytics kibana stack
READY := $(VENV)/.ready
# The tests of a file share servers; files go out in this order, the longest first, so that no long one is left at the end.
TEST := $(RUN) pytest -q --dist loadfile --no-loadscope-reorder
LONG := $(patsubst %,tests/integration/test_%.py,scorer_promises es_ingest scorer_processes features_on_real_data \
	kibana_panels producer spark stack access forget stream_operation training)
PEERS := .venv-bench


.PHONY: help setup env demo up down status lint check test check-deps bench compose-trial bench-fold bench-scorer bench-stream bench-stream-small bench-freshness bench-memory bench-ingest bench-sizes bench-producer soak chaos report docs lock

help: ## list the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | awk -F'\t' '{printf "  make %-16s %s\n", $$1, $$2}'

setup: $(READY) ## make the virtual environment with the locked packages

$(READY): requirements-dev.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] < (3, 11))' || { echo "Python 3.11 or newer is needed, found $$($(PYTHON) --version); name another with PYTHON=..."; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then apt-get update -qq && apt-get install -y -qq --no-install-recommends python3-venv; \
	  else echo "python3-venv is missing: apt-get install python3-venv"; exit 1; fi; }
	$(PYTHON) -m venv --clear $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@$(VENV)/bin/python -c 'import lightgbm' 2>/dev/null || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then apt-get update -qq && apt-get install -y -qq --no-install-recommends libgomp1; \
	  else echo "libgomp1 is missing: apt-get install libgomp1"; exit 1; fi; }
	@touch $@

env: ## write .env for docker compose, with random passwords; one that is there stays
	@sh stack/access/env.sh

demo: $(READY) ## play a history (or INPUT=file FORMAT=format) through everything, without Docker
	$(RUN) stack.demo $(if $(INPUT),--input $(INPUT)) $(if $(FORMAT),--format $(FORMAT))

up: $(READY) ## start servers and services natively
	$(RUN) stack up --pipeline

down: $(READY) ## stop servers and services; data stay in .ebb
	$(RUN) stack down

status: $(READY) ## show what runs and where
	$(RUN) stack status

lint: $(READY) ## format, lint, types, import rules
	$(RUN) ruff format --check .
	$(RUN) ruff check .
	$(RUN) mypy
	$(VENV)/bin/lint-imports

check: lint ## the same, and the tests that need no server
	$(TEST) -n 2 tests/unit tests/property

test: check ## everything: the checks, then the tests against real servers
	$(TEST) -n 5 tests/chaos tests/end_to_end $(LONG) $(filter-out $(LONG),$(wildcard tests/integration/test_*.py)) # most of a test is waiting

check-deps: $(READY) ## packages: known vulnerabilities, undeclared or unused, licences
	$(VENV)/bin/python .ci/check_deps.py

bench: bench-fold bench-scorer bench-stream bench-stream-small bench-freshness bench-memory bench-ingest bench-sizes bench-producer ## every benchmark
compose-trial: $(READY) ## bring up, kill and restart everything in docker compose (root on the engine's machine; 10 minutes)
	$(RUN) tests.compose.trial


bench-fold: $(READY) ## speed of the fold beside json.loads, and bytes of a state
	$(RUN) benchmarks.fold

bench-scorer: $(READY) ## customers scored a second, a full rescore, reads of cards, an event's way (WRITE=1, ARGS=...)
	$(RUN) benchmarks.scorer $(if $(WRITE),--write) $(ARGS)

bench-stream: $(READY) $(PEERS)/.ready ## the stream processor beside its peers (WRITE=1: into docs/, ARGS=...)
	$(RUN) benchmarks.stream $(if $(WRITE),--write) $(ARGS)

bench-stream-small: $(READY) $(PEERS)/.ready ## the same with a fold of RFM and sessions alone (WRITE=1, ARGS=...)
	$(RUN) benchmarks.stream.small_fold benchmarks.stream $(if $(WRITE),--write) $(ARGS)

bench-freshness: $(READY) ## from produced to visible in Redis at 2,000 events/s (WRITE=1, ARGS=...)
	$(RUN) benchmarks.freshness $(if $(WRITE),--write) $(ARGS)

bench-memory: $(READY) ## memory of a worker at 100,000 customers, bytes in Redis (WRITE=1, ARGS=...)
	$(RUN) benchmarks.memory $(if $(WRITE),--write) $(ARGS)

# The peers' own packages do not go together with ours.
$(PEERS)/.ready: benchmarks/requirements.lock $(READY)
	$(VENV)/bin/python -m venv --clear $(PEERS)
	$(PEERS)/bin/pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

bench-ingest: $(READY) ## es_ingest beside the client's own parallel_bulk (WRITE=1, ARGS=...)
	$(RUN) benchmarks.ingest $(if $(WRITE),--write) $(ARGS)

bench-sizes: $(READY) ## bytes of a customer and an event in every place, times a million (WRITE=1, ARGS=...)
	$(RUN) benchmarks.sizes $(if $(WRITE),--write) $(ARGS)

bench-producer: $(READY) ## speed of both Kafka clients, and rate and memory of replaying 1 GB (ARGS=...)
	$(RUN) benchmarks.producer $(ARGS)

soak: $(READY) ## an hour at 1,000 events/s: memory and freshness of every process (MINUTES=60 RATE=1000 WRITE=1, ARGS=...)
	$(RUN) benchmarks.soak --minutes $(or $(MINUTES),60) --rate $(or $(RATE),1000) $(if $(WRITE),--write) $(ARGS)

chaos: $(READY) ## 15 minutes with a random kill -9 every 20 s (MINUTES=15 RATE=1000 WRITE=1, ARGS=...)
	$(RUN) tests.chaos.pipeline --minutes $(or $(MINUTES),15) --rate $(or $(RATE),1000) $(if $(WRITE),--write) $(ARGS)

report: $(READY) ## analyse the history into report/report.html and tables (HISTORY=dir, ARGS=--index)
	$(RUN) analytics $(if $(HISTORY),--history $(HISTORY)) $(ARGS)

docs: $(READY) ## write the generated pages below docs/
	$(RUN) docs.generate

lock: $(READY) ## resolve the packages of pyproject.toml anew, with hashes
	$(RUN) uv pip compile -q --universal --generate-hashes --no-header --python-version 3.11 pyproject.toml -o requirements.lock
	$(RUN) uv pip compile -q --universal --generate-hashes --no-header --python-version 3.11 --group dev -c requirements.lock pyproject.toml -o requirements-dev.lock
	$(RUN) uv pip compile -q --universal --generate-hashes --no-header --python-version 3.11 benchmarks/requirements.in -o benchmarks/requirements.lock
