# make quickstart   set up, then train CQN-AS on Meta-World drawer-open from 20 demonstrations and show the result
# make test         set up, then run the tests
# make test-fast    the tests that take less than half a second each: under two minutes
# make check        tests, lint, types and docs-check: what CI runs
# make docs         the documentation as a site, served on this machine and made again after each change
# make docs-check   builds the site and fails at the first warning
# make bench        speed of updates, sampling and acting beside their floors, written to benchmarks/results/
# make chaos        attacks runs and sets: kills, full disks, flipped bits, hostile files; twenty minutes on two cores
# make bench-gpu    the same for every agent on an NVIDIA GPU: eager, compiled, captured; float32, tf32, bf16
PYTHON ?= python3
export PYTHON

.PHONY: quickstart test test-fast test-slow lint types check docs docs-check bench bench-gpu chaos clean

quickstart:
	@scripts/setup.sh metaworld
	@.venv/bin/zoomrl train

test:
	@scripts/setup.sh dev
	.venv/bin/python -m pytest -q

test-fast:
	@scripts/setup.sh dev
	.venv/bin/python -m pytest -q -m "not slow and not long"

test-slow:
	@scripts/setup.sh dev
	.venv/bin/python -m pytest -q -m slow

lint:
	@scripts/setup.sh dev
	.venv/bin/ruff check src tests benchmarks
	.venv/bin/ruff format --check src tests benchmarks

types:
	@scripts/setup.sh dev
	.venv/bin/mypy

check: lint types docs-check test

docs:
	@scripts/docs.sh serve --no-strict

# Not --quiet: warnings that are not shown do not fail it.
docs-check:
	@scripts/docs.sh build

bench:
	@scripts/setup.sh dev
	.venv/bin/python benchmarks/speed.py

bench-gpu:
	@scripts/setup.sh dev
	.venv/bin/python benchmarks/gpu.py

chaos:
	@scripts/setup.sh dev
	.venv/bin/python -m benchmarks.chaos

clean:
	rm -rf .venv .venv-docs build dist src/*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
