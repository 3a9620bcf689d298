# Resocode Admin. `make help` lists every chore.
SHELL := /bin/sh
PORT ?=
SEED ?= auto
PY := .venv/bin/python
export PYTHON
.DEFAULT_GOAL := help
.PHONY: help run test env unit browser-tests test-full lint format types screens bench lock clean

help: ## list every chore
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' Makefile

run: ## start database and dashboard with demo accounts (SEED=none: no records, PORT=…)
	@bin/env && exec $(PY) -m core serve --demo --seed $(SEED) $(if $(PORT),--port $(PORT))

test: ## everything CI runs: style, types, unit, AppTest and real-browser tests
	@bin/env --dev && exec bin/check

env: ## make .venv and nothing else
	@bin/env

unit: ## the tests that need no browser
	@bin/env --dev && exec $(PY) -m pytest -q -n 2 -m "not browser"

browser-tests: ## the tests in a real browser
	@bin/env --dev && browser=$$(bin/browser) && RESOCODE_BROWSER=$$browser exec $(PY) -m pytest -q -n 2 -m browser

test-full: ## attacks on releases, games of requests, crashes of erasures and 100,000 notices at full size (more than an hour)
	@bin/env --dev && RESOCODE_ATTACKS=full $(PY) -m pytest -q tests/anon && \
	  RESOCODE_TEST_FULL=1 exec $(PY) -m pytest -q -n 2 tests/core/privacy/test_request_stateful.py tests/core/privacy/test_erasure_crashes.py \
	  tests/core/privacy/test_erasure.py tests/core/privacy/test_restore.py tests/core/privacy/test_erasure_everywhere.py \
	  tests/core/privacy/test_campaigns.py

lint: ## say what style and types dislike
	@bin/env --dev && $(PY) -m ruff check . && $(PY) -m mypy

format: ## bring the code into shape
	@bin/env --dev && $(PY) -m ruff format . && $(PY) -m ruff check --fix .

types: ## mypy, strict on core
	@bin/env --dev && $(PY) -m mypy

screens: ## take the screenshots of docs/screens anew
	@bin/env --dev && browser=$$(bin/browser) && RESOCODE_BROWSER=$$browser exec $(PY) -m tests.browser.screens

bench: ## measure everything beside its floor and its peers (SIZES=100000,1000000: on made-up records; HOMES=100000=…: on homes that are there; ONLY=clicks,load)
	@bin/env --dev && $(PY) -m pip install -q -r bench/requirements.txt && exec $(PY) -m bench.chain $(if $(SIZES),--sizes $(SIZES)) $(if $(HOMES),--homes $(HOMES)) $(if $(ONLY),--only $(ONLY))

lock: ## pin requirements*.txt anew, with hashes
	@bin/env --dev && for name in requirements requirements-dev; do \
	  uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	    --no-annotate $$( [ $$name = requirements-dev ] && echo --constraint requirements.lock ) $$name.txt --output-file $$name.lock; done

clean: ## remove .venv and caches; the data in .resocode stays
	@rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis
