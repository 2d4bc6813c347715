# One verb per line of work; `make` alone lists them. Needs python3 (3.11 or newer) and make.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
ARGS   ?= --io-workers 8 --cpu-pool 4
STAMP  := $(VENV)/.installed
RESULTS := benchmarks/results
REAL_PROGRAMS := chromium curl openssl redis-server memcached postgresql

.PHONY: help serve test check fmt soak bench bench-pool fairness scheduling record picture peers idle bench-http bench-state notebooks flags lock clean suite-cluster suite-parts suite-bench real-programs

help:  ## list the verbs
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 15

serve: $(STAMP)  ## serve the demonstration application; other flags: make serve ARGS="…"
	@exec $(BIN)/hybrid serve $(ARGS)

test: check  ## everything: check, then the whole suite
	@echo "the suite takes about ten minutes; the first lines come after five"
	@$(MAKE) --no-print-directory -j2 --output-sync=target suite-cluster suite-parts
	@exec $(MAKE) --no-print-directory suite-bench

# Processes of a cluster mostly wait, so the parts are tested beside them; what measures has the machine for itself.
suite-cluster: $(STAMP)
	@exec $(BIN)/python -m pytest -q -n 2 --dist worksteal tests/cluster tests/integrations tests/shared_state --ignore tests/cluster/test_watchdog.py
suite-parts: $(STAMP)
	@exec $(BIN)/python -m pytest -q tests --ignore tests/cluster --ignore tests/integrations --ignore tests/shared_state --ignore tests/bench --ignore tests/benchmarks
suite-bench: $(STAMP)
	@exec $(BIN)/python -m pytest -q tests/bench tests/benchmarks tests/cluster/test_watchdog.py

check: $(STAMP)  ## format, lint, layers, types
	@$(BIN)/ruff format --check --quiet . || { echo "not formatted: make fmt"; exit 1; }
	@$(BIN)/ruff check --quiet .
	@layers=$$($(BIN)/lint-imports --no-cache) || { echo "$$layers"; exit 1; }
	@$(BIN)/mypy

fmt: $(STAMP)  ## format and mend what can be mended
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

real-programs:  ## install the Debian packages that tests drive, as root; without them those tests are skipped
	@installed=$$(dpkg-query -W -f '$${db:Status-Status}\n' $(REAL_PROGRAMS) 2>/dev/null | grep -cx installed); \
	test "$$installed" = $(words $(REAL_PROGRAMS)) || { apt-get update -qq && \
	  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(REAL_PROGRAMS); }

soak: $(STAMP)  ## the process tests at full length
	@HYBRID_SOAK=1 exec $(BIN)/python -m pytest -q -s -m soak -o faulthandler_timeout=900 -o log_cli=true -o log_cli_level=info

bench: $(STAMP)  ## micro-benchmarks of the pool and the kernels
	@exec $(BIN)/python -m pytest -q benchmarks --benchmark-enable --benchmark-columns=median,iqr,ops,rounds

bench-pool: $(STAMP)  ## the pool beside its peers (loky and piscina are fetched, outside this folder), and in a real server
	@$(BIN)/python -m benchmarks.pool.peers && exec $(BIN)/python -m benchmarks.pool.server

fairness: $(STAMP)  ## is one line per worker with shared permits as fair as one line for all?
	@exec $(BIN)/python -m benchmarks.pool.fairness

scheduling: $(STAMP)  ## how connections find a worker, policy by policy; into the README (a quarter of an hour)
	@$(BIN)/python -m benchmarks.scheduling && exec $(BIN)/python -m benchmarks.scheduling --readme

record: $(STAMP)  ## measure again all that README and notebooks show (20 minutes, quiet machine); can be resumed
	@exec $(BIN)/python -m benchmarks.record

picture: $(STAMP)  ## the recorded matrix as picture and verdict, for the README
	@exec $(BIN)/hybrid bench report $(RESULTS)/matrix.json --svg $(RESULTS)/matrix.svg --readme README.md

peers: $(STAMP)  ## the same load on hybrid, on Node with piscina, and on uvicorn with a process pool
	@exec $(BIN)/python -m benchmarks.peers

idle: $(STAMP)  ## CPU, wake-ups and memory of a cluster that has nothing to do
	@exec $(BIN)/python -m benchmarks.idle

bench-http: $(STAMP)  ## HTTP connections beside Node's and other Python servers' (BENCH_ARGS="--python …"); needs wrk and node
	@exec $(BIN)/python -m benchmarks.http $(BENCH_ARGS)

bench-state: $(STAMP)  ## shared state on every store, beside the bare drivers; into STATE.md (two minutes)
	@$(BIN)/python -m benchmarks.state && exec $(BIN)/python -m benchmarks.state --page

notebooks: $(STAMP)  ## show in the notebooks what is recorded
	@for book in notebooks/*.ipynb; do $(BIN)/jupyter execute --inplace "$$book" || exit 1; done

flags: $(STAMP)  ## the tables of CONFIGURATION.md, from the settings in hybrid/config.py
	@exec $(BIN)/python -m hybrid.cli.reference CONFIGURATION.md

lock: $(STAMP)  ## pin the newest versions that pyproject.toml allows, for every Python from 3.11
	@$(BIN)/python -m pip install -q uv
	@$(BIN)/uv pip compile -q --universal --python-version 3.11 --no-header --no-emit-index-url --no-emit-find-links --no-annotate --group dev pyproject.toml -o requirements.lock

clean:  ## remove the environment and every cache
	rm -rf $(VENV) .bench .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "hybrid needs Python 3.11 or newer; choose one with: make PYTHON=python3.13"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "this python3 cannot make a virtual environment; on Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	@echo "setting up $(VENV) …"
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  echo "making $(VENV) did not work; on Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@
