SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' Makefile

.PHONY: engines engines-down
engines: ## Kafka, Valkey and TimescaleDB as containers for the integration tests (127.0.0.1:29092, 26379, 25432)
	@hack/engines.sh up

engines-down: ## remove them
	@hack/engines.sh down
