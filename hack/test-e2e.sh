#!/usr/bin/env bash
# The tests on the real cluster. A demonstration that runs is waited for; one that serves is suspended for as
# long as the tests need its cores, and resumed.
# Usage: hack/test-e2e.sh [PYTEST ARGUMENT...]
# shellcheck source=hack/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

NAMESPACE=model-safety-e2e

main() {
	# The operator first: it is who takes the pods of a suspended resource away.
	"$HACK_DIR/install.sh"
	trap '"$HACK_DIR/set-aside.sh" back' EXIT
	"$HACK_DIR/set-aside.sh" aside "$NAMESPACE"
	"$REPO_DIR/.venv/bin/python" -m pytest "$REPO_DIR/tests/e2e" -m cluster "$@"
}

cd "$REPO_DIR"
with_lock workload main "$@"
