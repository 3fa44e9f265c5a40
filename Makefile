# gitseal. `make help` lists the targets.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

CONTROLLER_GEN_VERSION := v0.23.0
GOLANGCI_LINT_VERSION  := v2.15.0
GO_SOURCES := $(shell find api cmd controllers internal kubectl-plugin providers -name '*.go' ! -name '*_test.go' 2>/dev/null)

.PHONY: help
help: ## List the targets.
	@awk 'BEGIN {FS = ":.*## "} /^[a-zA-Z_\/-]+:.*## / {printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

##@ Use

.PHONY: demo
demo: build control-plane ## Show the main job on an embedded control plane; needs no cluster.
	@test/demo/demo.sh

.PHONY: demo-external
demo-external: build control-plane bin/vaultserver ## Show policy External on a real Vault and an embedded control plane.
	@test/demo/demo-external.sh

.PHONY: build
build: bin/gitseal-controller bin/kubectl-gitseal bin/sandbox ## Build the programs into bin/.

bin/gitseal-controller bin/kubectl-gitseal: bin/%: $(GO_SOURCES) go.mod
	@echo "building $* (a few minutes the first time) ..."
	@CGO_ENABLED=0 go build -ldflags '-s -w' -o $@ ./cmd/$*

include test/sandbox/control-plane.mk
include test/vaultserver/vaultserver.mk
include test/oracle/oracle.mk

.PHONY: install
install: control-plane ## Install the CRDs and the operator on the cluster of KUBECONFIG.
	bin/control-plane/kubectl apply --server-side -k config/default

.PHONY: uninstall
uninstall: control-plane ## Remove what install put there; delete the Applications first.
	bin/control-plane/kubectl delete --ignore-not-found -k config/default

##@ Test

.PHONY: test
test: build control-plane bin/vaultserver bin/oracle ## Run all tests: unit, CRD validation, CLI and end to end.
	@test/run.sh

.PHONY: bench
bench: build control-plane bin/vaultserver ## Measure speed and size into docs/bench/; BENCH='-quick' or '-scenario A,B'.
	CGO_ENABLED=0 go run ./test/bench -out docs/bench $(BENCH)

.PHONY: bench-report
bench-report: ## Turn docs/bench/*.json into tables and plots.
	CGO_ENABLED=0 go run ./test/bench/report

.PHONY: crash
crash: build control-plane ## Stop the operator at each of its effects; CRASH='-scenario change -k 4 -mode after'.
	CGO_ENABLED=0 go run ./test/crash $(CRASH)

.PHONY: fuzz
fuzz: ## Fuzz every target for FUZZTIME (default 30s) each.
	@test/fuzz.sh

##@ Change

.PHONY: generate
generate: bin/controller-gen ## Regenerate deep copies and the protocol of provider plugins.
	bin/controller-gen object paths=./api/...
	cd test/protogen && CGO_ENABLED=0 go run . ../../providers/plugin/pluginpb/plugin.proto

.PHONY: manifests
manifests: bin/controller-gen ## Regenerate CRDs and RBAC.
	bin/controller-gen crd paths=./api/... output:crd:dir=config/crd/bases
	bin/controller-gen rbac:roleName=gitseal-controller paths=./controllers/... output:rbac:dir=config/rbac

.PHONY: fmt
fmt: ## Format the code.
	gofmt -w $$(git ls-files '*.go')

.PHONY: vet
vet: ## Vet the code.
	go vet ./...
	cd test/sandbox && go vet ./...
	cd test/protogen && go vet ./...
	cd test/vaultserver && CGO_ENABLED=0 go vet -trimpath ./...
	cd test/oracle && CGO_ENABLED=0 go vet -trimpath ./...

.PHONY: lint
lint: bin/golangci-lint ## Lint the code.
	bin/golangci-lint run ./...

.PHONY: verify
verify: generate manifests fmt vet lint ## Do all of the above; the tree must be clean afterwards.
	@test -z "$$(git status --porcelain)" || { git status --short; echo "error: the tree is not clean: commit what changed"; exit 1; }

bin/controller-gen:
	GOBIN=$(CURDIR)/bin go install sigs.k8s.io/controller-tools/cmd/controller-gen@$(CONTROLLER_GEN_VERSION)

bin/golangci-lint:
	@echo "building golangci-lint, about 4 minutes the first time ..."
	GOBIN=$(CURDIR)/bin go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT_VERSION)

.PHONY: clean
clean: ## Remove bin/.
	rm -rf bin
