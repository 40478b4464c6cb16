# Every target installs what it needs; everything expensive is kept in $(MSO_CACHE).
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MSO_CACHE ?= $(HOME)/.cache/model-safety-operator
export MSO_CACHE
export PATH := $(MSO_CACHE)/bin:$(PATH)
PYTHON := .venv/bin/python
PYTEST := $(PYTHON) -m pytest

.PHONY: help
help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-18s %s\n", $$1, $$2}'

.PHONY: demo
demo: venv cluster images ## Unsafe model in, guarded endpoint out: all four kinds on a real cluster
	@hack/tools.sh helm
	@hack/demo.sh

.PHONY: cluster cluster-down images images-gpu
cluster: ## Start a real Kubernetes (kind), with an engine of its own where there is none
	@hack/cluster/up.sh

cluster-down: ## Stop it; caches stay
	@hack/cluster/down.sh

images-gpu: ## Build the worker image for GPUs; needs room on the disk, and loads it nowhere
	@hack/images.sh build worker-gpu

images: cluster ## Build the operator, worker and guardrails images and load them into the cluster
	@hack/images.sh build all
	@hack/images.sh load all

.PHONY: venv lock
# Of both worker images; where both have a package, the one for CPUs has the version of the one for GPUs.
LOCK_WORKER := uv pip compile -q --upgrade --python-version 3.11 --no-header --override images/worker/overrides.txt
venv:
	@hack/venv.sh

lock: venv ## Pin the requirements anew
	@hack/tools.sh uv
	cd requirements && uv pip compile -q --upgrade --python-version 3.11 --no-header operator.in -o operator.txt
	cd requirements && uv pip compile -q --upgrade --python-version 3.11 --no-header --override overrides.txt -c operator.txt dev.in -o dev.txt
	cd requirements && uv pip compile -q --upgrade --python-version 3.11 --no-header -c dev.txt ray.in -o ray.txt
	$(LOCK_WORKER) --python-platform x86_64-manylinux_2_28 images/worker/requirements-gpu.in -o images/worker/requirements-gpu.txt
	$(LOCK_WORKER) --override images/worker/overrides-cpu.txt -c images/worker/requirements-gpu.txt images/worker/requirements.in -o images/worker/requirements.txt
	uv pip compile -q --upgrade --python-version 3.11 --no-header images/guardrails/requirements.in -o images/guardrails/requirements.txt
	cd requirements && uv pip compile -q --upgrade --python-version 3.11 --no-header -c dev.txt -c ../images/guardrails/requirements.txt clients.in -o clients.txt

.PHONY: generate verify
generate: venv ## Regenerate CRDs, the chart's copies, the API reference, versions and figures
	@$(PYTHON) hack/codegen/generate.py

verify: venv ## Fail when anything generated differs from its source
	@$(PYTHON) hack/codegen/generate.py --check

.PHONY: check format
check: venv ## Lint, format, types, import rules, shell scripts, chart
	@hack/tools.sh helm
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	PYTHONPATH=operator:images/worker .venv/bin/lint-imports
	PYTHONPATH=images/guardrails .venv/bin/lint-imports --config images/guardrails/.importlinter
	git ls-files -z '*.sh' .ci/run | xargs -0 .venv/bin/shellcheck -x
	helm lint --strict --quiet charts/model-safety-operator

format: venv ## Format and fix what can be fixed by itself
	.venv/bin/ruff check --fix . || true
	.venv/bin/ruff format .

.PHONY: test test-unit test-browser test-integration test-ray test-clients test-models test-e2e bench bench-gateway
test: test-unit test-integration test-models test-e2e ## All tests: unit, real API server, real libraries, real cluster with a real model, other people's clients, real browser, real Ray
	@hack/in-time.sh test-clients 300
	@hack/in-time.sh test-browser 300
	@hack/in-time.sh test-ray 600

test-unit: venv ## Minutes, no cluster
	$(PYTEST) -n auto tests/unit

test-browser: venv ## The report's page in a real Chromium
	@hack/tools.sh chromium
	$(PYTEST) tests/browser

test-integration: venv ## Against a real API server, KubeRay's operator, and Argo CD's own health check
	@hack/tools.sh kubernetes argocd kuberay
	$(PYTEST) tests/integration

test-ray: venv ## Pods of a training on a real Ray, as processes
	@hack/test-ray.sh

test-clients: venv ## OpenAI's clients and LangChain's at a running guarded endpoint
	@hack/test-clients.sh

test-models: images ## With the real torch, TRL, garak and NeMo Guardrails, inside the images
	@hack/test-models.sh

test-e2e: venv cluster images ## On the real cluster
	@hack/tools.sh helm
	@hack/test-e2e.sh

bench: venv ## Operator latency and memory against a bare Kopf loop
	@hack/tools.sh kubernetes
	$(PYTHON) tests/benchmarks/operator_latency.py

bench-gateway: venv ## The guarded endpoint under load against the bare engine
	@hack/test-clients.sh --bench
