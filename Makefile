# Bund. `make run` and `make test` are the two that a newcomer needs; `make help` lists all.
SHELL := /bin/bash
.DEFAULT_GOAL := help
GO ?= go

help: ## what can be made
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

build: ## binaries into bin/
	@mkdir -p bin
	$(GO) build -o bin/ ./server/marketd ./node/datanode ./ledger/bundaudit ./deploy/dev ./deploy/sample

run: build ## the market, two data nodes and a witness, with the sample market, on this machine
	@bin/dev

test: ## everything that CI runs
	deploy/dev/test.sh

generate: ## generated files anew
	$(GO) generate ./...

.PHONY: help build run test generate
