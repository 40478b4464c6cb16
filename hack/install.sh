#!/usr/bin/env bash
# Installs or upgrades the operator on the local cluster with its own chart and the images that were
# built last, on the CPU profile.
# Usage: hack/install.sh [--reports NAMESPACE]   with a report server beside the claim of that namespace
# shellcheck source=hack/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

RELEASE=model-safety
NAMESPACE=model-safety-system
CHART="$REPO_DIR/charts/model-safety-operator"
export KUBECONFIG="$MSO_CACHE/kubeconfig"

tag() { "$HACK_DIR/images.sh" list "$1" | cut -d' ' -f1 | cut -d: -f2; }

main() {
	local reports=()
	case "$#:${1:-}" in
	0:) ;;
	2:--reports) reports=(--set reports.create=always --set "reports.namespaces={$2}") ;;
	*) die "Usage: hack/install.sh [--reports NAMESPACE]" ;;
	esac
	helm upgrade --install "$RELEASE" "$CHART" --namespace "$NAMESPACE" --create-namespace \
		--set device=cpu \
		--set artifacts.create=false \
		"${reports[@]}" \
		--set "images.operator.tag=$(tag operator)" \
		--set "images.worker.tag=$(tag worker)" \
		--set "images.guardrails.tag=$(tag guardrails)" \
		--wait --timeout 3m >"$LOG_DIR/install.log" ||
		die "helm could not install the chart; kubectl get pods,events -n $NAMESPACE tells why. Log: $LOG_DIR/install.log"
	log "the operator runs in namespace $NAMESPACE"
}

main "$@"
