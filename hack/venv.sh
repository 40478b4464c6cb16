#!/usr/bin/env bash
# Makes sure that .venv holds the pinned development requirements; takes no time
# when it does. Usage: hack/venv.sh
# shellcheck source=hack/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

VENV="$REPO_DIR/.venv"
REQUIREMENTS=("$REPO_DIR/requirements/operator.txt" "$REPO_DIR/requirements/dev.txt")

# find_python: sets PYTHON to one that is new enough.
find_python() {
	local candidate
	for candidate in python3.12 python3.11 python3 /usr/bin/python3; do
		PYTHON=$(command -v "$candidate") || continue
		! "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || return 0
	done
	die "no Python of 3.11 or newer. Install one (apt-get install python3 on Debian 12)."
}

fill_venv() {
	local options=()
	for file in "${REQUIREMENTS[@]}"; do options+=(-r "$file"); done
	[[ -x "$VENV/bin/python" ]] || uv venv -q --python "$PYTHON" "$VENV"
	VIRTUAL_ENV="$VENV" uv pip install --no-deps "${options[@]}"
}

main() {
	local wanted
	command -v python3 >/dev/null || apt_install python3 python3-venv
	find_python
	wanted=$(hash_inputs "${REQUIREMENTS[@]}" "$("$PYTHON" --version)")
	[[ "$(cat "$VENV/.inputs" 2>/dev/null)" != "$wanted" ]] || return 0
	"$HACK_DIR/tools.sh" uv
	run_logged "install development requirements" fill_venv
	printf '%s\n' "$wanted" >"$VENV/.inputs"
}

with_lock venv main
