# Every target does its own set-up: python3 with venv, and make, are all that must be there.
# `make lab` needs QEMU and mmdebstrap as well, and installs them itself as root on Debian.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready
DEMO ?=
SEEDS ?= 2000
KILLS ?= 300
# Processes that tests start would compile the same modules again and again.
export PYTHONDONTWRITEBYTECODE :=
# Tests fsync as much as the product does; in memory that costs nothing.
FAST_TEMPORARY := $(shell test -w /dev/shm && echo TMPDIR=/dev/shm)
PYTEST := $(FAST_TEMPORARY) $(BIN)/python -m pytest -n auto --dist worksteal

.DEFAULT_GOAL := help

.PHONY: help
help: ## Show what can be made
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /|/' | column -t -s '|'

$(STAMP): requirements-development.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "xenbackup needs Python 3.11 or newer; $(PYTHON) is older. Set PYTHON=…" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) \
	  || { echo "python3-venv is missing: apt-get install python3-venv" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-development.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

.PHONY: setup
setup: $(STAMP) ## Make the environment .venv with the command .venv/bin/xenbackup

.PHONY: demo
demo: $(STAMP) ## Watch a night's backup on a simulated host
	@$(BIN)/xenbackup demo $(if $(DEMO),--directory $(DEMO))

.PHONY: format
format: $(STAMP) ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: lint
lint: $(STAMP) ## Format, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

.PHONY: check
check: lint ## The same, layering, fast tests: before each commit
	$(PYTEST) tests --ignore=tests/lab -m "not slow" -q

.PHONY: test
test: $(STAMP) ## All tests that need no hypervisor
	$(PYTEST) tests --ignore=tests/lab

.PHONY: simulate
simulate: $(STAMP) ## SEEDS=N runs under faults that a seed decides, on the simulated host
	$(FAST_TEMPORARY) $(BIN)/python -m tests.simulation --seeds $(SEEDS)

.PHONY: crash
crash: $(STAMP) ## KILLS=N real kills of real processes on simulated hosts; needs strace
	$(FAST_TEMPORARY) $(BIN)/python -m tests.crash --kills $(KILLS)

.PHONY: soak
soak: $(STAMP) ## Hours: all zones' schedules, 100,000 seeds, 20,000 kills, mutants; resumable
	$(FAST_TEMPORARY) $(BIN)/python -m tests.schedule
	$(FAST_TEMPORARY) $(BIN)/python -m tests.simulation --seeds 100000 --continue
	$(FAST_TEMPORARY) $(BIN)/python -m tests.crash --every-line --kills 20000 --continue
	$(FAST_TEMPORARY) $(BIN)/python -m tests.mutation

.PHONY: mutants
mutants: $(STAMP) ## Mutants of the runner, the undo, the rescue table and the journal; resumable
	$(FAST_TEMPORARY) $(BIN)/python -m tests.mutation $(if $(AGAIN),--again)

.PHONY: coverage
coverage: $(STAMP) ## Lines and branches that tests run: pipeline, dom0, durable files
	$(PYTEST) tests/unit tests/pipeline tests/contract -m "not slow" -q --cov --cov-report=
	$(BIN)/coverage report --fail-under=100 --include='xenbackup/pipeline/*,xenbackup/system/durable.py'
	$(BIN)/coverage report --fail-under=100 --include='xenbackup/dom0/*'

.PHONY: teeth
teeth: $(STAMP) ## Take out each safety act in turn: some test must notice
	@$(FAST_TEMPORARY) $(BIN)/python -m tests.teeth $(if $(ONLY),--only '$(ONLY)')

.PHONY: lab
lab: $(STAMP) ## A real Xen host in QEMU: contract, backup and restore of real guests
	$(BIN)/python -m pytest tests/lab -m "not lab_long" --durations=15

.PHONY: lab-long
lab-long: $(STAMP) ## The whole matrix on the lab's Xen; resumable
	$(BIN)/python -m pytest tests/lab -m lab_long $(if $(CONTINUE),--last-failed --last-failed-no-failures none)

.PHONY: lab-record
lab-record: $(STAMP) ## Record what the lab's tools print and no fixture holds yet
	$(BIN)/python -m tests.lab.record

.PHONY: bench
bench: $(STAMP) ## Copy engine against dd, ratios printed; what the daemon costs when idle
	$(BIN)/python -m bench.copying
	$(BIN)/python -m bench.daemon

.PHONY: pictures
pictures: $(STAMP) ## Regenerate every picture in docs/ from real runs
	$(BIN)/python docs/pictures/make.py

.PHONY: lock
lock: $(STAMP) ## Pin the development environment anew
	$(BIN)/pip-compile --quiet --extra development --no-emit-index-url --no-emit-trusted-host \
	  --no-emit-find-links --no-header --strip-extras --no-annotate --allow-unsafe --upgrade \
	  -o requirements-development.lock pyproject.toml

.PHONY: wheel
wheel: $(STAMP) ## Build dist/xenbackup-VERSION-py3-none-any.whl
	$(BIN)/python -m build --wheel --no-isolation --outdir dist .

.PHONY: deb
deb: $(STAMP) ## Build dist/xenbackup_VERSION_amd64.deb, for Debian 12
	$(BIN)/python packaging/build_deb.py --output dist

.PHONY: install
install: ## As root, without a package: program below PREFIX (/usr/local), units below /etc
	PREFIX=$(or $(PREFIX),/usr/local) PYTHON=$(PYTHON) packaging/install.sh install

.PHONY: uninstall
uninstall: ## Remove what `make install` put there; configuration, records and points stay
	PREFIX=$(or $(PREFIX),/usr/local) packaging/install.sh uninstall

.PHONY: lock-runtime
lock-runtime: $(STAMP) ## Pin what is installed on a dom0, at the versions of `make lock`
	$(BIN)/pip-compile --quiet --generate-hashes --no-emit-index-url --no-emit-trusted-host \
	  --no-emit-find-links --no-header --strip-extras --no-annotate \
	  -c requirements-development.lock -o packaging/requirements.lock pyproject.toml

.PHONY: clean
clean: ## Remove what was made here; the lab's cache stays
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage
