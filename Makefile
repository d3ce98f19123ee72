# Graf's tasks. `make help` lists them. Nothing here changes the machine but
# `setup`, which the others that need it call; see local/install.sh.

.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS += --no-print-directory

# What a developer may set.
override DATA := $(or $(DATA),.graf)
TESTFLAGS ?=
BENCH     ?= .
ROUNDS    ?= 3
COLD_STARTS ?= 9

# Tools, each in a folder named after its version in the user's cache, so that
# neither PATH nor another project matters.
SQLC          := sqlc-v1.31.1/sqlc
OAPI_CODEGEN  := oapi-codegen-v2.8.2/oapi-codegen
GOLANGCI_LINT := golangci-lint-v2.15.0/golangci-lint
FUNC          := func-v0.44.0/func
TEMPORAL      := temporalserver-v1.31.0/temporalserver
TYPESCRIPT    := sdk/typescript/node_modules/.package-lock.json
TOOLS         := $(if $(XDG_CACHE_HOME),$(XDG_CACHE_HOME),$(HOME)/.cache)/graf/bin

MODULES  := $(patsubst %/go.mod,%,$(wildcard */go.mod functions/*/go.mod sdk/*/go.mod))
PACKAGES := $(patsubst %,./%/...,$(MODULES))
PROGRAMS := $(addprefix ./,$(wildcard */cmd/* functions/*/cmd/*))

# Prints the program of the tests' Kubernetes, which is built first where it is
# missing; nothing where a cluster is named.
apiserver := test -n "$${GRAF_TEST_KUBECONFIG:-}" || cluster/apiserver.sh

# -buildvcs=false: a clone that another user owns has no version to stamp.
BUILD := CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags='-s -w'

.PHONY: help
help: ## List the targets
	@echo 'usage: make TARGET [DATA=FOLDER] [DEPS=compose]'
	@echo
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# AGENT=codex: the Codex CLI, which is installed, is on the agents' PATH.
with_agent = $(if $(filter codex,$(AGENT)),codex="$$(local/install-codex.sh)" && PATH="$${codex%/*}:$$PATH")

.PHONY: demo
demo: setup build ## Run the main job end to end and show it happening (AGENT=codex MODEL=NAME: by a model's agent)
	@$(with_agent) exec bin/graf-local demo --data '$(DATA)' $(if $(AGENT),--agent '$(AGENT)') $(if $(MODEL),--model '$(MODEL)')

.PHONY: run
run: setup build ## Run the local platform until Ctrl-C (AGENT=codex: with the Codex CLI for its tasks)
	@$(with_agent) exec bin/graf-local run --data '$(DATA)'

.PHONY: test
test: setup-test bin/graf-local ## Run every test, with the race detector, on real servers (TESTFLAGS='-run NAME')
	@CGO_ENABLED=1 bin/graf-local services --ephemeral --kubernetes "$$($(apiserver))" --data '$(DATA)' -- \
		go test -race -shuffle=on $(TESTFLAGS) $(PACKAGES)

.PHONY: bench
bench: setup build ## Run the benchmarks of docs/performance.md (BENCH=NAME, ROUNDS=3)
	@bin/graf-bench --bench '$(BENCH)' --rounds '$(ROUNDS)'
	@bin/graf-local services --ephemeral --kubernetes "$$($(apiserver))" --data '$(DATA)' -- \
		go test -run '^$$' -bench '$(BENCH)' -benchmem -p 1 $(PACKAGES) | grep -v 'no test files'

.PHONY: bench-cluster
bench-cluster: ## Measure Graf on the cluster in use, as docs/performance.md has it (BENCH=NAME, ROUNDS=3, COLD_STARTS=9)
	@mkdir -p bin
	@$(BUILD) -o bin/ ./deploy/cmd/graf-image ./e2e/cmd/graf-measure ./e2e/cmd/trivial
	@image=$$(bin/graf-image --name graf-trivial --binary bin/trivial $(if $(GRAF_IMAGE_REGISTRY),--push,--output bin/trivial.tar)); \
		$(if $(GRAF_IMAGE_REGISTRY),,cluster/load.sh "$$image" bin/trivial.tar;) \
		cluster/exec.sh bin/graf-measure --image "$$image" --bench '$(BENCH)' --rounds '$(ROUNDS)' --cold-starts '$(COLD_STARTS)' \
			--json bin/measured.json --picture '$(or $(PICTURE),bin/cold-starts.svg)'

.PHONY: lint
lint: $(TOOLS)/$(GOLANGCI_LINT) $(TYPESCRIPT) ## Check style and common mistakes
	@'$<' run $(PACKAGES)
	@cd sdk/typescript && npm run --silent lint

.PHONY: format
format: $(TOOLS)/$(GOLANGCI_LINT) $(TYPESCRIPT) ## Format the code
	@'$<' fmt $(MODULES)
	@cd sdk/typescript && npm run --silent format

.PHONY: generate
generate: $(TOOLS)/$(SQLC) $(TOOLS)/$(OAPI_CODEGEN) $(TYPESCRIPT) ## Generate the code that comes from SQL and OpenAPI
	@for file in $(wildcard $(addsuffix /*/sqlc.yaml,$(MODULES))); do '$(TOOLS)/$(SQLC)' generate --file "$$file"; done
	@PATH="$(TOOLS)/$(dir $(OAPI_CODEGEN)):$$PATH" go generate $(PACKAGES) 2> >(grep -v 'matched no packages' >&2)
	@cd sdk/typescript && npm run --silent generate >/dev/null

# Digests rather than git tell what changes: the tree may hold other changes.
generated = { grep -rlZ --include='*.go' '^// Code generated .* DO NOT EDIT' $(MODULES) || true; printf 'sdk/typescript/src/api.gen.ts\0'; } | sort -z | xargs -0r sha256sum

# The variables of the env tags of the configuration structs, each with its default.
settings = grep -rhoE --include='*.go' --exclude='*_test.go' 'env:"[A-Z][A-Z0-9_]*[^"]*"( envDefault:"[^"]*")?' functions shared local worker | \
	sed -nE 's/^env:"([A-Z0-9_]+)[^"]*"( envDefault:"([^"]*)")?/\1 \3/p' | sort -u

.PHONY: check
check: ## Check that modules are tidy, generated code is up to date and every setting is documented
	@for module in $(MODULES); do \
		echo "check: $$module is tidy"; \
		(cd "$$module" && go mod tidy -diff) || { echo "run: cd $$module && go mod tidy"; exit 1; }; \
	done
	@echo 'check: generated code is up to date'
	@before=$$($(generated)); $(MAKE) generate; after=$$($(generated)); \
		diff <(echo "$$before") <(echo "$$after") || { echo 'generated code was out of date: commit what make generate made'; exit 1; }
	@echo 'check: every setting is in docs/configuration.md'
	@$(settings) | while read -r name default; do \
		grep -F "$$name\`" docs/configuration.md | grep -qF "\`$${default:+$$default\`}" || \
			{ echo "docs/configuration.md: add $$name, default $${default:-none}"; exit 1; }; \
	done

.PHONY: build
build: ## Build every program into bin/
	@mkdir -p bin
	@echo 'building the programs (a few minutes the first time) …' >&2
	@$(BUILD) -o bin/ $(PROGRAMS)

.PHONY: bin/graf-local
bin/graf-local:
	@mkdir -p bin
	@$(BUILD) -o $@ ./local/cmd/graf-local

.PHONY: setup
setup: ## Install what the platform runs on and this machine lacks
	@local/install.sh
	@test -n "$${OPENAI_API_KEY:-}" || local/install-model.sh >/dev/null

.PHONY: setup-test
setup-test: $(TOOLS)/$(TEMPORAL) $(TYPESCRIPT) ## Install what the tests need and this machine lacks
	@local/install.sh --test
	@local/install-model.sh >/dev/null
	@local/install-codex.sh >/dev/null
	@$(apiserver) >/dev/null

.PHONY: cluster
cluster: ## Bring up Kubernetes with Knative, without Docker; or check the one that KUBECONFIG or GRAF_KUBE_CONTEXT names
	@cluster/up.sh

.PHONY: cluster-down
cluster-down: ## Remove every trace of that cluster but the built programs; one of your own is left alone
	@cluster/down.sh

.PHONY: deploy
deploy: bin/graf-deploy $(TOOLS)/$(FUNC) ## Put Graf on the cluster in use, or bring what is there up to date
	@bin/graf-deploy --func '$(TOOLS)/$(FUNC)'

.PHONY: undeploy
undeploy: bin/graf-deploy ## Remove Graf from that cluster; the servers' data stays
	@bin/graf-deploy --undeploy
	@e2e/servers.sh --remove

# With every orchestration mode; what a cluster of your own has, GRAF_OVERLAY says.
.PHONY: e2e
e2e: cluster $(TOOLS)/$(TEMPORAL) ## Prove Graf on that cluster, end to end (TESTFLAGS='-run NAME')
	@e2e/servers.sh '$(TOOLS)/$(TEMPORAL)'
	@$(MAKE) deploy $(if $(KUBECONFIG)$(GRAF_KUBE_CONTEXT)$(GRAF_OVERLAY),,GRAF_OVERLAY=deploy/overlays/e2e)
	@e2e/run.sh $(TESTFLAGS)

.PHONY: bin/graf-deploy
bin/graf-deploy:
	@mkdir -p bin
	@$(BUILD) -o $@ ./deploy/cmd/graf-deploy

.PHONY: clean
clean: ## Remove what was built; the platform's data stays
	@rm -rf bin

.PHONY: clean-data
clean-data: ## Remove the platform's data
	@test ! -e '$(DATA)' || test -e '$(DATA)/services.lock' || { echo '$(DATA) is no data folder of Graf: remove it yourself' >&2; exit 1; }
	@test ! -e '$(DATA)' || flock --nonblock '$(DATA)/services.lock' rm -rf '$(DATA)' || \
		{ echo 'a graf-local runs on $(DATA): stop it first' >&2; exit 1; }

$(TOOLS)/$(SQLC):
	@$(call install,github.com/sqlc-dev/sqlc/cmd/sqlc)

$(TOOLS)/$(OAPI_CODEGEN):
	@$(call install,github.com/oapi-codegen/oapi-codegen/v2/cmd/oapi-codegen)

$(TOOLS)/$(GOLANGCI_LINT):
	@$(call install,github.com/golangci/golangci-lint/v2/cmd/golangci-lint)

# func has a tree of dependencies, and a replacement, of its own.
$(TOOLS)/$(FUNC): deploy/func/go.mod
	@echo 'install knative.dev/func@$(version)' >&2
	@cd deploy/func && GOWORK=off CGO_ENABLED=0 nice go build -trimpath -buildvcs=false -ldflags='-s -w' -o '$@' knative.dev/func/cmd/func
	@touch '$@'

# Likewise the Temporal server of worker's tests.
$(TOOLS)/$(TEMPORAL): worker/temporalserver/go.mod worker/temporalserver/main.go
	@echo 'build the Temporal server of tests, $(version) (some minutes)' >&2
	@cd worker/temporalserver && GOWORK=off CGO_ENABLED=0 nice go build -trimpath -buildvcs=false -ldflags='-s -w' -o '$@' .
	@touch '$@'

# The TypeScript SDK's tools, as its lock file has them.
$(TYPESCRIPT): sdk/typescript/package-lock.json
	@local/install-node.sh
	@cd sdk/typescript && npm ci --silent --ignore-scripts --no-audit --no-fund
	@touch '$@'

# install PACKAGE: at the version that the target's folder, TOOL-VERSION, names.
# Without cgo, which sqlc would use for databases that Graf has not.
version = $(lastword $(subst -v, v,$(notdir $(@D))))
install = echo 'install $(1)@$(version)' >&2; CGO_ENABLED=0 GOFLAGS= GOBIN='$(@D)' go install $(1)@$(version)
