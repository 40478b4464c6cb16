#!/usr/bin/env bash
# Runs tests/clients: the guarded endpoint as a process, with the packages of its image, under OpenAI's clients
# for Python and JavaScript and LangChain's, in an environment of their own (560 MB on disk). No cluster.
# With --bench the load benchmark of the endpoint, in the same environment.
# Usage: hack/test-clients.sh [PYTEST ARGUMENT... | --bench [ARGUMENT...]]
# shellcheck source=hack/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

REQUIREMENTS=("$REPO_DIR/images/guardrails/requirements.txt" "$REPO_DIR/requirements/clients.txt")
PACKAGES=("$REPO_DIR/tests/clients/package.json" "$REPO_DIR/tests/clients/package-lock.json")

# fill FOLDER: both languages' packages, as their locks have them.
fill() {
	local options=()
	for file in "${REQUIREMENTS[@]}"; do options+=(-r "$file"); done
	rm -rf "$1"
	uv venv -q --python "$REPO_DIR/.venv/bin/python" "$1"
	VIRTUAL_ENV="$1" uv pip install --no-deps --compile-bytecode "${options[@]}"
	cp "${PACKAGES[@]}" "$1/"
	(cd "$1" && npm ci --ignore-scripts --no-audit --no-fund)
	touch "$1/.complete"
}

main() {
	local folder
	folder="$MSO_CACHE/clients-$(hash_inputs "${REQUIREMENTS[@]}" "${PACKAGES[@]}" "$("$REPO_DIR/.venv/bin/python" --version)")"
	if [[ ! -f "$folder/.complete" ]]; then
		"$HACK_DIR/tools.sh" uv
		command -v npm >/dev/null || apt_install nodejs npm
		need_disk 1 "an environment with OpenAI's clients"
		run_logged "install OpenAI's clients" fill "$folder"
	fi
	cd "$REPO_DIR"
	export NODE_PATH="$folder/node_modules" PYTHONPATH=operator:images/guardrails:.
	if [[ "${1:-}" == --bench ]]; then
		exec "$folder/bin/python" tests/benchmarks/gateway_load.py "${@:2}"
	fi
	# Not the project's own settings: they name plugins that this environment has not got.
	exec "$folder/bin/python" -m pytest -q -W error -p no:cacheprovider -c /dev/null --rootdir "$REPO_DIR" \
		--import-mode=importlib "$@" tests/clients
}

with_lock clients main "$@"
