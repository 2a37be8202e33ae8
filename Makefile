# Sluice. `make` lists the targets.

GO          ?= go
FUZZTIME    ?= $(if $(filter true,$(CI)),3s,5s)
CACHE       ?= $(or $(SLUICE_TEST_CACHE),$(HOME)/.cache/sluice-test)
VERSION     ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
STATICCHECK := v0.8.2
EMBEDDED    := cmd/sluice/internal/embedded
TOOLS       := $(CACHE)/tools
LINTER      := $(TOOLS)/staticcheck-$(STATICCHECK)
SCRIPTS      = $(shell git ls-files '*.sh') .ci/run

# Packages without an engine, a sandbox or a network in their tests.
FAST := ./internal/ci ./internal/runtimes ./internal/frontend/... ./internal/logs ./internal/blob/... \
	./internal/fileset ./internal/report ./internal/image ./internal/buildtool ./internal/engine ./internal/store ./internal/auth ./internal/app ./internal/api ./client ./test/summary

.PHONY: help build test check lint layers fmt fuzz bench soak demo engines engines-stop clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## /  \1\t/p' $(MAKEFILE_LIST) | expand -t 18

build: ## build ./sluice, static and stripped
	@CGO_ENABLED=0 $(GO) build -trimpath -ldflags "-s -w" -o $(EMBEDDED)/agent ./cmd/sluice/agent
	@sha256sum <$(EMBEDDED)/agent | cut -c1-64 >$(EMBEDDED)/agent.sum
	CGO_ENABLED=0 $(GO) build -tags embedagent -trimpath -ldflags "-s -w -X main.version=$(VERSION)" -o sluice ./cmd/sluice

test: ## run every test with the race detector; says which were skipped and why
	@test/run.sh

check: lint layers ## what must pass before a push: format, vet, lint, layers, fast tests with -race
	CGO_ENABLED=1 $(GO) test -race -short $(FAST)

lint: $(LINTER) ## gofmt, go vet, tidy modules, staticcheck, shellcheck
	@out=$$(git ls-files -z '*.go' | xargs -0 gofmt -l); if [ -n "$$out" ]; then echo "not formatted (make fmt):"; echo "$$out"; exit 1; fi
	$(GO) vet ./...
	$(GO) mod tidy -diff
	$(LINTER) ./...
	@if command -v shellcheck >/dev/null; then echo shellcheck; shellcheck $(SCRIPTS); \
	elif [ "$(CI)" = true ]; then echo "shellcheck is missing"; exit 1; \
	else echo "shellcheck is not installed: scripts are not checked"; fi

layers: ## who may import whom
	$(GO) test -count=1 ./internal/

$(LINTER):
	@mkdir -p $(TOOLS)
	GOFLAGS= GOBIN=$(TOOLS) $(GO) install honnef.co/go/tools/cmd/staticcheck@$(STATICCHECK)
	@mv $(TOOLS)/staticcheck $@

fmt: ## format the Go files
	@git ls-files -z '*.go' | xargs -0 gofmt -l -w

fuzz: ## run each fuzzer for FUZZTIME (5s)
	@test/fuzz.sh $(FUZZTIME)

bench: build ## measure the budgets, each beside the bare work
	@test/bench/run.sh

soak: build ## an hour of load and kills, on SQLite and PostgreSQL (SOAKTIME for each, 30m)
	@eval "$$(test/engines/postgres.sh start)" && export SLUICE_TEST_POSTGRES && test/soak/run.sh $(or $(SOAKTIME),30m)

demo: build ## build a real project with ./sluice and show what comes out
	@sh examples/demo.sh

engines: build ## start the engines that tests use, and say how to hand them to `make test` (as root)
	@test/engines/all.sh start

engines-stop: ## stop those engines
	@test/engines/all.sh stop

clean: ## remove what the targets made
	rm -rf sluice dist
