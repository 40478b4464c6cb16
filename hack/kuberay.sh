#!/usr/bin/env bash
# KubeRay's operator on the local cluster, as its own kustomization makes it, and the stand-in for NeMo-RL's image:
# what tests of trainings on Ray want there besides `make cluster images`.
# Usage: hack/kuberay.sh up|down
# shellcheck source=hack/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=hack/cluster/engine.sh
source "$HACK_DIR/cluster/engine.sh"
# shellcheck source=hack/cluster/cluster.sh
source "$HACK_DIR/cluster/cluster.sh"

NAMESPACE=ray-system
CONFIG="$BIN_DIR/kuberay-config"
GPUS=8

node_ctr() { docker exec -i "$NODE" ctr -n k8s.io "$@"; }

# operator_image: sets IMAGE to an image that holds the binary only, and brings it into the node.
operator_image() {
	IMAGE="model-safety/kuberay:$KUBERAY_VERSION"
	node_ctr images ls -q | grep -x "docker.io/$IMAGE" >/dev/null && return
	local folder
	folder=$(mktemp -d)
	cp -L "$BIN_DIR/kuberay" "$folder/manager"
	printf 'FROM scratch\nCOPY manager /manager\nUSER 65532:65532\n' >"$folder/Containerfile"
	DOCKER_BUILDKIT=0 docker build -q -t "$IMAGE" -f "$folder/Containerfile" "$folder" >/dev/null
	docker save "$IMAGE" | node_ctr images import - >/dev/null
	rm -rf "$folder"
}

# manifests: KubeRay's own, in a namespace of their own, with that image. Its limit of 100m CPU is lifted: beside a
# training on two cores it would not even answer its probes.
manifests() {
	local folder
	folder=$(mktemp -d)
	cp -rL "$CONFIG" "$folder/config"
	cat >"$folder/kustomization.yaml" <<-EOF
		namespace: $NAMESPACE
		resources: [config/default]
		images: [{name: quay.io/kuberay/operator, newName: model-safety/kuberay, newTag: $KUBERAY_VERSION}]
		patches:
		- target: {kind: Deployment}
		  patch: |
		    - {op: remove, path: /spec/template/spec/containers/0/resources/limits/cpu}
		    - {op: replace, path: /spec/template/spec/containers/0/livenessProbe/failureThreshold, value: 60}
	EOF
	kubectl kustomize "$folder"
	rm -rf "$folder"
}

# logical_gpus: the node says that it has some, which are only counted; the stand-in trains on CPU.
logical_gpus() {
	kubectl patch node "$NODE" --subresource=status --type=merge \
		-p "{\"status\": {\"capacity\": {\"nvidia.com/gpu\": \"$GPUS\"}}}" >/dev/null
}

up() {
	"$HACK_DIR/tools.sh" kuberay
	"$HACK_DIR/images.sh" build nemo-rl-stand-in
	"$HACK_DIR/images.sh" load nemo-rl-stand-in
	run_logged "load image kuberay" operator_image
	logical_gpus
	kubectl create namespace "$NAMESPACE" --dry-run=client -o yaml | kubectl apply -f - >/dev/null
	# A CRD of KubeRay has a megabyte; a busy API server may take longer for one than it gives a request.
	wait_until 300 "KubeRay's kinds" kubectl apply --server-side -f "$CONFIG/crd/bases/" || die "KubeRay's kinds cannot be made"
	manifests | kubectl apply --server-side -f - >/dev/null
	kubectl rollout status -n "$NAMESPACE" deployment/kuberay-operator --timeout=120s >/dev/null ||
		die "KubeRay's operator does not start: kubectl describe pods -n $NAMESPACE"
	log "KubeRay's operator runs in namespace $NAMESPACE"
}

down() {
	manifests | kubectl delete --ignore-not-found --wait=false -f - >/dev/null
	kubectl delete namespace "$NAMESPACE" --ignore-not-found --wait=false >/dev/null
	kubectl patch node "$NODE" --subresource=status --type=json \
		-p '[{"op": "remove", "path": "/status/capacity/nvidia.com~1gpu"}]' >/dev/null 2>&1 || true
}

[[ "${1:-}" =~ ^(up|down)$ ]] || die "Usage: hack/kuberay.sh up|down"
engine_up
node_runs || die "the cluster does not run. Start it: make cluster"
with_lock kuberay "$1"
