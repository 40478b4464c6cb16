#!/usr/bin/env bash
# Measures what screening does, on a real small model, inside the worker image:
# see tests/benchmarks/screening_proof. What is finished is kept in the cache
# folder and not repeated, so it may be ended at any time.
# Usage: hack/screening-proof.sh [--size tiny|small] [STEP...]
# shellcheck source=hack/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=hack/cluster/engine.sh
source "$HACK_DIR/cluster/engine.sh"

main() {
	local folder="$MSO_CACHE/screening-proof"
	engine_up
	mkdir -p "$folder"
	chmod 0777 "$folder" # the image's user writes there
	# The checkout may be in a folder that only its owner reads: hand over a copy.
	tar -C "$REPO_DIR" --owner=1000 --group=1000 -c --exclude='__pycache__' operator images/worker examples tests |
		docker run --rm -i --init --network none --read-only --tmpfs /tmp:exec,mode=1777 --shm-size 256m \
			--cap-drop ALL --security-opt no-new-privileges \
			-v "$folder:/proof" -e HOME=/tmp -e PYTHONDONTWRITEBYTECODE=1 \
			--entrypoint bash model-safety/worker:dev -euo pipefail -c '
				mkdir /tmp/checkout && tar -x -C /tmp/checkout && cd /tmp/checkout
				export PYTHONPATH=/tmp/checkout/tests/benchmarks:/tmp/checkout/operator:/tmp/checkout/images/worker
				exec python -m screening_proof --root /proof "$@"' bash "$@"
}

main "$@"
