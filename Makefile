# Bund. `make run` and `make test` are the two that a newcomer needs; `make help` lists all.
SHELL := /bin/bash
.DEFAULT_GOAL := help
GO ?= go

help: ## what can be made
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

build: ## binaries into bin/
	@mkdir -p bin
	$(GO) build -o bin/ ./server/marketd ./node/datanode ./ledger/bundaudit ./deploy/dev ./deploy/smoke ./deploy/headline

postgres: ## PostgreSQL's programs, if the machine has none
	@deploy/dev/postgres.sh

run: build postgres ## the market, its data nodes and a witness, with the sample market, on this machine
	@bin/dev

test: ## everything that CI runs
	deploy/dev/test.sh

smoke: build postgres ## walks a whole trade on free ports in a temporary folder, then audits it
	bin/smoke

private: build postgres ## every way of use without handing over, on the sample market, against the plain data
	bin/dev -walk

headline: build postgres ## the honest headline: what joined data is worth, by metered and settled calls
	bin/headline

fabric-build: ## Fabric's programs, the chaincode and fabricnet into bin/; two minutes the first time
	deploy/fabric/build.sh
	$(GO) build -o bin/ ./chaincode ./deploy/fabric/fabricnet

fabric: build postgres fabric-build ## the sample market on a Hyperledger Fabric network of five organisations, as plain processes
	bin/fabricnet up
	bin/dev -fabric data/fabric/network.yaml -dir data/fabric-market

fabric-stop: fabric-build ## stops that network; its ledger stays, make fabric goes on with it
	bin/fabricnet down

fabric-smoke: build postgres fabric-build ## the walk of make smoke on a Fabric network of its own
	bin/smoke -fabric

chaos: fabric-build ## kill -9 of every part of a Fabric network under load; some three minutes
	BUND_CHAOS=1 BUND_FABRIC=$(CURDIR)/bin $(GO) test -count=1 -timeout 30m -v -run TestChaos ./ledger/fabric

# Each part takes less than eight minutes on a machine that does nothing else.
bench-parts := ledger faults sustained node catalog projection audit privacy
bench: $(addprefix bench-,$(bench-parts)) bench-fabric ## all figures that the project states, some half an hour

bench-ledger: ## figures of the embedded ledger: submissions, log layer
bench-faults: ## figures of reopening, kills and cuts
bench-sustained: ## two minutes of the ledger with published log and projection
bench-node: ## figures of gate and meter
bench-catalog: ## a page of the shelf over HTTP
bench-projection: ## a rebuild of the projection
bench-audit: ## a full audit against bare verification
bench-privacy: ## figures of use without handing over, some ten minutes
$(addprefix bench-,$(bench-parts)): bench-%:
	$(GO) run ./deploy/bench $*

bench-fabric: postgres fabric-build ## the ledger on a Fabric network against a bare SDK; batches, projection, start
	$(GO) run ./deploy/bench fabric

generate: ## generated files anew
	$(GO) generate ./...

.PHONY: help build postgres run test smoke private headline generate bench fabric-build fabric fabric-stop fabric-smoke chaos bench-fabric $(addprefix bench-,$(bench-parts))
