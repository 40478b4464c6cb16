#!/usr/bin/env bash
# The demonstration: installs the chart, applies examples/01-quickstart, follows it, shows the result.
# Expects a cluster with the images loaded (make demo does both first).
# Usage: hack/demo.sh        DEMO_KEEP=1 keeps results of an earlier run instead of starting anew
# shellcheck source=hack/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

NAMESPACE=model-safety-demo
OUTPUT="$REPO_DIR/demo-output"
LIMIT_SECONDS=3000
export KUBECONFIG="$MSO_CACHE/kubeconfig"

main() {
	local worker_image
	(($# == 0)) || die "no arguments. Usage: hack/demo.sh, with DEMO_KEEP=1 in the environment to keep earlier results"
	log "install the operator with its chart"
	"$HACK_DIR/install.sh"
	"$HACK_DIR/set-aside.sh" aside "$NAMESPACE"
	if [[ -z "${DEMO_KEEP:-}" ]]; then
		log "remove what an earlier demonstration left"
		kubectl delete namespace "$NAMESPACE" --ignore-not-found --wait=true
	fi
	kubectl create namespace "$NAMESPACE" --dry-run=client -o yaml | kubectl apply -f - >/dev/null
	kubectl label namespace "$NAMESPACE" pod-security.kubernetes.io/enforce=restricted --overwrite >/dev/null
	log "kubectl apply -k examples/01-quickstart"
	kubectl apply -n "$NAMESPACE" -k "$REPO_DIR/examples/01-quickstart"
	python3 "$HACK_DIR/demo/watch.py" "$NAMESPACE" "$LIMIT_SECONDS"
	worker_image=$("$HACK_DIR/images.sh" list worker | cut -d' ' -f1)
	python3 "$HACK_DIR/demo/show.py" "$NAMESPACE" "$worker_image" "$OUTPUT"
	log "done in $SECONDS s. Look around: export KUBECONFIG=$KUBECONFIG; kubectl get modelsafety -n $NAMESPACE"
}

with_lock workload main "$@"
