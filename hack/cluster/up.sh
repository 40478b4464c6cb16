#!/usr/bin/env bash
# Makes sure that the local cluster runs: kind, cluster name model-safety,
# kubeconfig $MSO_CACHE/kubeconfig. Does nothing when it is Ready already.
# Usage: hack/cluster/up.sh
# Environment: MSO_CACHE; MSO_BUILD_NODE=1 builds the node image even where
# the published one can be pulled.
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
# shellcheck source=hack/lib.sh
source "$here/../lib.sh"
# shellcheck source=hack/cluster/engine.sh
source "$here/engine.sh"
# shellcheck source=hack/cluster/cluster.sh
source "$here/cluster.sh"
# shellcheck source=hack/cluster/base-image.sh
source "$here/base-image.sh"
# shellcheck source=hack/cluster/node-image/build.sh
source "$here/node-image/build.sh"
# shellcheck source=hack/cluster/kind.sh
source "$here/kind.sh"

NODE_SECONDS=180
DNS_SECONDS=120

main() {
	apt_install curl ca-certificates jq
	"$HACK_DIR/tools.sh" kind
	engine_up
	if node_runs && node_ready; then
		log "the cluster is up already"
	else
		create_cluster
	fi
	[[ "$(docker inspect -f '{{.Config.Image}}' "$NODE")" != "$NODE_REPOSITORY"* ]] || install_node_services
	wait_until "$DNS_SECONDS" "cluster DNS" dns_ready || explain_and_die "cluster DNS is not ready after $DNS_SECONDS s"
	log "cluster $CLUSTER: Ready, DNS running, ${SECONDS} s in all"
	printf 'export KUBECONFIG=%s\nexport DOCKER_HOST=%s\n' "$KUBECONFIG" "${DOCKER_HOST:-}"
}

create_cluster() {
	# A node that does not run, or does not answer, is what a reboot or a
	# crash left; a new one takes as long as a repair.
	if node_exists; then
		log "removing what is left of an earlier cluster"
		kind delete cluster --name "$CLUSTER" --kubeconfig "$KUBECONFIG"
	fi
	need_disk 5 "the cluster"
	node_image
	engine_is_ours && make_network
	rm -rf "$VOLUMES_DIR"
	mkdir -p "$VOLUMES_DIR"
	[[ -z "$NODE_BUILT" ]] || make_node_store
	kind_config >"$MSO_CACHE/kind.yaml"
	run_logged "kind create cluster" kind create cluster --name "$CLUSTER" --image "$NODE_IMAGE" \
		--config "$MSO_CACHE/kind.yaml" --kubeconfig "$KUBECONFIG" --retain
	# With the published node image nothing else has installed kubectl.
	[[ -x "$BIN_DIR/kubectl" ]] || docker cp -L "$NODE:/usr/bin/kubectl" "$BIN_DIR/kubectl"
	wait_until "$NODE_SECONDS" "the node" node_ready || explain_and_die "the node is not Ready after $NODE_SECONDS s"
	log "node Ready"
	# One is enough, and each reserves a tenth of a core.
	kubectl -n kube-system scale deployment coredns --replicas 1 >/dev/null
}

make_network() {
	docker network inspect kind >/dev/null 2>&1 || docker network create kind -d bridge --subnet "$KIND_SUBNET" >/dev/null
}

# make_node_store: sets NODE_STORE, a copy of the node image's own store, one
# per node image.
make_node_store() {
	NODE_STORE="$NODE_STORE_DIR/${NODE_IMAGE##*:}"
	[[ ! -d "$NODE_STORE" ]] || return 0
	rm -rf "$NODE_STORE_DIR"
	mkdir -p "$NODE_STORE.partial"
	docker run --rm --network none --entrypoint cp -v "$NODE_STORE.partial:/store" "$NODE_IMAGE" -a /var/lib/containerd/. /store/
	mv "$NODE_STORE.partial" "$NODE_STORE"
}

# What the published node image has and ours lacks: volumes that
# any user may write, and enforcement of NetworkPolicy.
install_node_services() {
	local service lib=/usr/local/lib/model-safety
	docker exec "$NODE" mkdir -p "$lib"
	docker cp "$here/node-services/volume-permissions.sh" "$NODE:$lib/" >/dev/null
	docker cp "$here/networkpolicy/." "$NODE:$lib/" >/dev/null
	for service in volume-permissions network-policy; do
		docker cp "$here/node-services/$service.service" "$NODE:/etc/systemd/system/" >/dev/null
	done
	docker exec "$NODE" systemctl daemon-reload
	for service in volume-permissions network-policy; do
		docker exec "$NODE" systemctl restart "$service"
	done
}

explain_and_die() {
	kubectl --request-timeout=5s get nodes,pods -A -o wide >&2 || true
	docker exec "$NODE" journalctl -u kubelet --no-pager -n 20 >&2 || true
	die "$1. Above: pods and the kubelet's last words. hack/cluster/down.sh, then up.sh again, starts afresh."
}

with_lock cluster main
