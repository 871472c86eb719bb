# Thin: every target is one command that also works by hand. `make` alone prints this help.
# Settings can be overridden for one command: make up SET="services.api.instances=8"

SHELL := /bin/bash
BULKHEAD := .venv/bin/bulkhead
SET ?=
export BULKHEAD_SET := $(strip $(BULKHEAD_SET) $(SET))

.DEFAULT_GOAL := help

.PHONY: help
help: ## print this help
	@echo "make TARGET   (first time: make up)"
	@echo
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  \1\t\2/' | expand -t 17

.PHONY: setup
setup: ## install what is missing: nginx (Debian/Ubuntu package) and .venv from requirements.lock
	@./setup.sh

$(BULKHEAD):
	@echo "nothing is installed here yet: run make up" >&2; exit 4

.PHONY: up
up: setup ## start the stack; safe to repeat
	@$(BULKHEAD) up

.PHONY: down
down: $(BULKHEAD) ## stop it; nothing stays: no process, socket or port
	@$(BULKHEAD) down

.PHONY: restart
restart: $(BULKHEAD) ## down, then up: applies every change of stack.toml
	@$(BULKHEAD) restart

.PHONY: roll
roll: $(BULKHEAD) ## replace the processes of a service one by one: make roll S=api
	@$(BULKHEAD) roll $(S)

.PHONY: scale
scale: $(BULKHEAD) ## change the number of instances: make scale S="api=8"
	@$(BULKHEAD) scale $(S)

.PHONY: reload
reload: $(BULKHEAD) ## apply what has changed in stack.toml; no request fails
	@$(BULKHEAD) reload

.PHONY: upgrade
upgrade: $(BULKHEAD) ## let the nginx that is installed now take over from the one that runs
	@$(BULKHEAD) upgrade nginx

.PHONY: reopen
reopen: $(BULKHEAD) ## rotate rows and nginx's error log; nothing is lost
	@$(BULKHEAD) reopen

.PHONY: status
status: $(BULKHEAD) ## every process: state, ready, restarts, memory, address
	@$(BULKHEAD) status

.PHONY: logs
logs: $(BULKHEAD) ## the last lines that every process printed
	@$(BULKHEAD) logs

.PHONY: load
load: setup ## run Locust for 30 s (UI=1: its web UI; USERS=20 WORKERS=1 TIME=30 SHAPE=steady|ramp|spike)
	@$(BULKHEAD) load --users $(or $(USERS),20) --workers $(or $(WORKERS),1) --time $(or $(TIME),30) --shape $(or $(SHAPE),steady) $(if $(UI),--ui)

.PHONY: drill
drill: setup ## break a stack of its own and judge every request (D=kill-storm SEED=1 N=1; D=drills/mine.toml)
	@$(BULKHEAD) drill $(or $(D),kill-storm) --seed $(or $(SEED),1) --repeat $(or $(N),1)

.PHONY: test
test: setup ## the tests of every change, real processes on free ports; another stack may be up
	@.venv/bin/python -m pytest -n 2 -m "not slow and not load" --durations=10

.PHONY: test-all
test-all: setup ## the rest: load, floods, soaks, databases, hosts, containers, mutants
	@.venv/bin/python -m pytest -n 2 -m "slow and not load" --durations=10
	@.venv/bin/python -m pytest -m load --durations=10

.PHONY: compose-up
compose-up: ## the stack on several hosts, each a container (docs/containers.md): make compose-up APPS=4
	@deploy/compose up --scale app=$(or $(APPS),2)

.PHONY: compose-load
compose-load: setup ## Locust's master and WORKERS=2 workers in containers load that stack (USERS=20 TIME=30)
	@$(BULKHEAD) load --hosts containers --workers $(or $(WORKERS),2) --users $(or $(USERS),20) --time $(or $(TIME),30) --shape $(or $(SHAPE),steady)

.PHONY: compose-drill
compose-drill: setup ## break hosts that are containers of their own (D=host-kill SEED=1 N=1)
	@$(BULKHEAD) drill $(or $(D),host-kill) --hosts containers --seed $(or $(SEED),1) --repeat $(or $(N),1)

.PHONY: compose-down
compose-down: ## stop them; the ledger stays
	@deploy/compose down

.PHONY: compose-clean
compose-clean: ## stop them, and remove the ledger and the secrets
	@deploy/compose clean

.PHONY: lint
lint: setup ## lint, format and types
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy

.PHONY: check
check: lint ## lint, and the tests that start no process
	@.venv/bin/python -m pytest -q -n 2 -m "not live"

.PHONY: bench
bench: setup ## measure: commands, requests per second, the load generator (needs wrk)
	@.venv/bin/python -m bench

.PHONY: lock
lock: ## pin the newest allowed versions into requirements.lock, those of a host into requirements.host.lock (needs uv)
	@uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --no-annotate --no-header --extra dev --upgrade pyproject.toml -o requirements.lock
	@uv pip compile -q --python-platform linux --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --no-annotate --no-header --constraint requirements.lock pyproject.toml -o requirements.host.lock

.PHONY: clean
clean: ## down, then remove var/ (configuration, logs, rows, the ledger, runs) and caches; .venv stays
	@if [ -x $(BULKHEAD) ]; then $(BULKHEAD) down; fi
	@rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@# Without var/build the images of this machine could not be built again (deploy/base-image).
	@if [ -d var ]; then find var -mindepth 1 -maxdepth 1 -not -name build -exec rm -rf {} + ; fi
	@find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
