#!/usr/bin/env bash
# Removes the local cluster and, where the engine is ours, ends the engine and
# takes back its network rules. Images, engine data and tools stay in the cache.
# Usage: hack/cluster/down.sh [--keep-engine | --purge]
#   --keep-engine  leaves our engine running (a next up.sh is 3 s faster)
#   --purge        deletes the cache folder too
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
# shellcheck source=hack/lib.sh
source "$here/../lib.sh"
# shellcheck source=hack/cluster/engine.sh
source "$here/engine.sh"
# shellcheck source=hack/cluster/cluster.sh
source "$here/cluster.sh"

OPTION="${1:-}"
[[ "$OPTION" =~ ^(--keep-engine|--purge)?$ ]] || die "unknown option '$OPTION'. Usage: hack/cluster/down.sh [--keep-engine | --purge]"

main() {
	if engine_find; then
		delete_cluster
	fi
	rm -f "$KUBECONFIG" "$KUBECONFIG.lock"
	rm -rf "$VOLUMES_DIR"
	if [[ "$OPTION" != --keep-engine ]]; then
		engine_stop
	fi
	log "cluster removed"
}

delete_cluster() {
	if node_exists; then
		# Unmounts overlays on the kept store before the node goes.
		! node_runs || timeout 30 docker exec "$NODE" systemctl stop kubelet >/dev/null 2>&1 || true
		kind delete cluster --name "$CLUSTER" --kubeconfig "$KUBECONFIG"
	fi
	# A network of the machine's own engine may serve other kind clusters.
	if engine_is_ours; then
		docker network rm kind >/dev/null 2>&1 || true
	fi
}

with_lock cluster main
if [[ "$OPTION" == --purge ]]; then
	# Go's module cache is elsewhere and is not ours.
	rm -rf "$MSO_CACHE"
	log "caches removed"
fi
