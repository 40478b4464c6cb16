#!/usr/bin/env bash
# Runs tests/worker_models inside the images that are shipped, as their user,
# with a read-only file system and no network: what passes here passes in a pod.
# Usage: hack/test-models.sh [PYTEST ARGUMENT...]
# shellcheck source=hack/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=hack/cluster/engine.sh
source "$HACK_DIR/cluster/engine.sh"

# What the images lack to run the tests; pinned by requirements/dev.txt.
TEST_PACKAGES=(pytest pluggy iniconfig pytest-asyncio hypothesis sortedcontainers)

# install_pytest: sets PYTEST_DIR to a folder with pytest and nothing that the
# image has itself. The images' Python is the one of Debian 12.
install_pytest() {
	local pins
	pins=$(grep -E "^($(IFS='|' && echo "${TEST_PACKAGES[*]}"))==" "$REPO_DIR/requirements/dev.txt")
	PYTEST_DIR="$MSO_CACHE/pytest-$(hash_inputs "$pins")"
	[[ ! -d "$PYTEST_DIR" ]] || return 0
	"$HACK_DIR/tools.sh" uv
	# shellcheck disable=SC2086  # one argument a pin
	run_logged "install pytest for the images" uv pip install --no-deps --target "$PYTEST_DIR.new" $pins
	chmod -R a+rX "$PYTEST_DIR.new"
	mv "$PYTEST_DIR.new" "$PYTEST_DIR"
}

# run_in IMAGE TEST...
run_in() {
	local image="$1"
	shift
	log "tests in the $image image"
	# The checkout may be in a folder that only its owner reads: hand over a copy.
	tar -C "$REPO_DIR" --owner=1000 --group=1000 -c --exclude='__pycache__' operator images examples tests pyproject.toml |
		docker run --rm -i --network none --read-only --tmpfs /tmp:exec,mode=1777 --shm-size 256m \
			--cap-drop ALL --security-opt no-new-privileges \
			-v "$PYTEST_DIR:/pytest:ro" -e PYTHONPATH=/pytest -e HOME=/tmp -e PYTHONDONTWRITEBYTECODE=1 \
			--entrypoint bash "model-safety/$image:dev" -euo pipefail -c '
				mkdir /tmp/checkout && tar -x -C /tmp/checkout && cd /tmp/checkout
				exec python -m pytest -p no:cacheprovider "$@"' bash "$@"
}

main() {
	engine_up
	install_pytest
	run_in worker "$@" tests/worker_models/worker
	run_in guardrails "$@" tests/worker_models/guardrails
}

main "$@"
