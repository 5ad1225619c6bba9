SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# Faults that chaos draws. What lands is judged by one sequence: green or red for what it changed.
ifeq ($(MAKECMDGOALS),chaos)
FAULTS ?= 40
else
SEED ?= 3
endif

# The cluster to work on, its host ports (127.0.0.1) and whether images are pulled or built; empty means the default.
export CLUSTER ARGUS_HTTP_PORT ARGUS_POSTGRES_PORT ARGUS_REDIS_PORT ARGUS_KAFKA_PORT ARGUS_IMAGES SEED FAULTS

STAGES := lint types layers unit compiled chart integration e2e chaos

.PHONY: help up down env demo status logs clean bench bench-local bench-growth bench-soak bench-storage bench-compare fuzz defects sync lock engines engines-down test test-full test-operator scenarios $(STAGES)

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' Makefile
	@echo
	@echo "  Variables: CLUSTER=argus, ARGUS_HTTP_PORT=8080, ARGUS_POSTGRES_PORT=5432, ARGUS_REDIS_PORT=6379,"
	@echo "  ARGUS_KAFKA_PORT=9094 (ten thousand above for another CLUSTER), ARGUS_IMAGES=pull|build (found out)."

up: ## everything on a kind cluster, and a demonstration: 18 min from nothing, 1 min again
	@hack/up.sh

down: ## remove all that `make up` made, but for caches
	@hack/down.sh

env: ## print export lines for a shell: eval "$(make -s env)"
	@hack/env.sh

demo: ## send 20 seconds of traffic and balance the ledger; OPTIONS="--seconds 60 --rate 1000"
	@hack/demo.sh $(OPTIONS)

status: ## pods, tenants, pipelines, and the memory of it all
	@hack/status.sh

logs: ## follow operator, ingest and stream; OF=kafka, OF=postgres, ... for one
	@hack/logs.sh $(OF)

test: ## every check, on engines and a cluster of their own (argus-test): an hour from nothing, 47 min again
	@hack/test.sh $(STAGES)

test-full: ## the same, the scenarios, and that a second `make up` changes nothing and `make down` leaves nothing
	@ARGUS_CRASH=full hack/test.sh $(STAGES) scenarios again

test-operator: ## the operator's logic over fakes and real engines, its matrix and rights, stopped at every call; last line: N passed, N failed
	@hack/test.sh operator

lint: ## formats and linters: Python, shell, YAML
types: ## mypy --strict
layers: ## who may import whom
unit: ## tests/unit
compiled: ## the same for the edge as the images hold it, compiled
chart: ## the chart: lint, values, rendered manifests
integration: ## tests/integration, on real engines
e2e: ## tests/e2e, on a cluster of its own
chaos: ## faults of every kind under load, then every count held against the sender's own; SEED=n FAULTS=40
scenarios: ## tests/chaos/scenarios, 40 min; ARGUS_SCENARIOS=short for less of each
$(STAGES) scenarios:
	@hack/test.sh $@

bench: ## the installed system on the cluster, through its ports: what it sustains, what an event costs
	@hack/bench.sh cluster $(OPTIONS)

bench-local: ## what an event costs on this host, held against the budgets: 10 min; OPTIONS="--quick --mode single"
	@hack/bench.sh local $(OPTIONS)

bench-growth: ## what an event costs with 200 tenants, 10 million rows, 100,000 addresses: 15 min
	@hack/bench.sh growth $(OPTIONS)

bench-soak: ## ten minutes at 70 % of saturation: memory and lag stay flat
	@hack/bench.sh soak $(OPTIONS)

bench-storage: ## what a row costs PostgreSQL as it is stored, and with one thing changed: 8 min
	@hack/bench.sh storage $(OPTIONS)

bench-compare: ## the last bench-local against bench/baseline.json, as ratios
	@hack/bench.sh compare $(OPTIONS)

fuzz: ## look for bodies that break the decoder; SECONDS=60
	@hack/fuzz.sh $(or $(SECONDS),60)

defects: ## break one promise at a time in a copy of the tree, and see that a test notices: 10 min
	@hack/sync.sh
	@hack/docker.sh
	@hack/engines.sh up
	@.venv/bin/python hack/defects.py

sync: ## make .venv what requirements/dev.txt pins
	@hack/sync.sh

lock: ## resolve requirements/*.txt anew; OPTIONS=--upgrade for the newest
	@hack/lock.sh $(OPTIONS)

engines: ## Kafka, Valkey and TimescaleDB for the integration tests (127.0.0.1:29092, 26379, 25432)
	@hack/docker.sh
	@hack/engines.sh up

engines-down: ## remove them
	@hack/engines.sh down

clean: ## remove caches, images and .venv too
	@hack/clean.sh
