#!/usr/bin/env bash
# Runs tests/ray_cluster: the pods of a training as processes, with a real Ray
# in an environment of its own (70 MB to fetch, 220 MB on disk). No cluster.
# Usage: hack/test-ray.sh [PYTEST ARGUMENT...]
# shellcheck source=hack/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

REQUIREMENTS="$REPO_DIR/requirements/ray.txt"

# Byte code: each of Ray's processes imports hundreds of modules.
fill_venv() {
	rm -rf "$1"
	uv venv -q --python "$REPO_DIR/.venv/bin/python" "$1"
	VIRTUAL_ENV="$1" uv pip install --no-deps --compile-bytecode -r "$REQUIREMENTS"
	touch "$1/.complete"
}

main() {
	local venv
	venv="$MSO_CACHE/ray-$(hash_inputs "$REQUIREMENTS" "$("$REPO_DIR/.venv/bin/python" --version)")"
	if [[ ! -f "$venv/.complete" ]]; then
		"$HACK_DIR/tools.sh" uv
		need_disk 1 "an environment with Ray"
		run_logged "install Ray" fill_venv "$venv"
	fi
	cd "$REPO_DIR"
	# Not the project's own settings: they name plugins that this environment has not got.
	exec "$venv/bin/python" -m pytest -q -W error -p no:cacheprovider -c /dev/null --rootdir "$REPO_DIR" "$@" tests/ray_cluster
}

with_lock ray main "$@"
