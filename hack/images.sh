#!/usr/bin/env bash
# Builds the project's images from images/*/Containerfile and loads them into
# the local cluster's node. An image is tagged by the hash of its inputs (what
# its Containerfile copies, the base, build arguments) and `dev`; nothing is
# built or loaded twice.
# Usage: hack/images.sh build|load|list [operator|worker|worker-gpu|guardrails|nemo-rl-stand-in|all]...
# all: those of the local cluster, without worker-gpu, which is only ever built, and nemo-rl-stand-in, which
# tests of Ray want (hack/kuberay.sh).
# Environment: MSO_ARG_<NAME> is handed on as the build argument <NAME> to each
# Containerfile that declares it; MSO_PLATFORM (linux/arm64, say) is handed on
# to docker, and needs a base of that platform in MSO_ARG_BASE.
# shellcheck source=hack/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=hack/cluster/engine.sh
source "$HACK_DIR/cluster/engine.sh"
# shellcheck source=hack/cluster/cluster.sh
source "$HACK_DIR/cluster/cluster.sh"
# shellcheck source=hack/cluster/base-image.sh
source "$HACK_DIR/cluster/base-image.sh"

USAGE="Usage: hack/images.sh build|load|list [operator|worker|worker-gpu|guardrails|nemo-rl-stand-in|all]..."
# Free disk that a cold build takes: the image, its layers while they are
# written, and the package client's downloads.
declare -A BUILD_GIGABYTES=([operator]=2 [guardrails]=8 [worker]=16 [worker-gpu]=28 [nemo-rl-stand-in]=3)
# Arguments of an image that shares another one's Containerfile.
declare -A OWN_ARGUMENTS=([worker-gpu]="REQUIREMENTS=images/worker/requirements-gpu.txt")

containerfile() {
	local folder="images/${1%-gpu}"
	[[ "$1" != nemo-rl-stand-in ]] || folder=tests/ray_cluster/stand_in
	printf '%s/%s/Containerfile' "$REPO_DIR" "$folder"
}

# declared_arguments NAME: the ARGs of the Containerfile as NAME=DEFAULT lines.
declared_arguments() { sed -nE 's/^ARG ([A-Za-z_][A-Za-z0-9_]*)(=(.*))?$/\1=\3/p' "$(containerfile "$1")" | sort -u; }

# build_arguments NAME: its own, and those that the environment sets, as NAME=VALUE lines.
build_arguments() {
	local argument variable
	[[ -z "${OWN_ARGUMENTS[$1]:-}" ]] || printf '%s\n' "${OWN_ARGUMENTS[$1]}"
	declared_arguments "$1" | while IFS='=' read -r argument _; do
		variable="MSO_ARG_$argument"
		[[ -z "${!variable:-}" ]] || printf '%s=%s\n' "$argument" "${!variable}"
	done
}

# copied_paths NAME: what the Containerfile copies from the context, with its
# arguments filled in.
copied_paths() {
	local name="$1" argument value substitutions=()
	# The environment's values come first: the first substitution wins.
	while IFS='=' read -r argument value; do
		substitutions+=(-e "s#\\\$\\{?$argument\\b\\}?#$value#g")
	done < <(build_arguments "$name" && declared_arguments "$name")
	awk '$1 == "COPY" || $1 == "ADD" {
		if ($0 ~ /--from=/) next
		for (i = 2; i < NF; i++) if ($i !~ /^--/) print $i
	}' "$(containerfile "$name")" | sed -E "${substitutions[@]}" | while read -r path; do
		# Unquoted: a COPY may hold a pattern.
		# shellcheck disable=SC2086
		(cd "$REPO_DIR" && ls -d -- $path 2>/dev/null) || die "$(containerfile "$name") copies $path, which does not exist."
	done | sed "s#^#$REPO_DIR/#"
}

# image_tag NAME: sets TAG, the image's name with the hash of its inputs.
image_tag() {
	local paths arguments
	[[ -f "$(containerfile "$1")" ]] || die "there is no $(containerfile "$1")."
	mapfile -t paths < <(copied_paths "$1")
	mapfile -t arguments < <(build_arguments "$1")
	[[ -z "${MSO_PLATFORM:-}" ]] || arguments+=("$MSO_PLATFORM")
	TAG="model-safety/$1:$(hash_inputs "$(containerfile "$1")" "${paths[@]}" "${arguments[@]}" "$BASE_IMAGE")"
}

build() {
	local name="$1" argument options=()
	image_tag "$name"
	if docker image inspect "$TAG" >/dev/null 2>&1; then
		log "$TAG is built already"
	else
		need_disk "${BUILD_GIGABYTES[$name]}" "building the $name image" "$(docker info -f '{{.DockerRootDir}}')"
		for argument in $(build_arguments "$name"); do
			options+=(--build-arg "$argument")
		done
		[[ -z "${MSO_PLATFORM:-}" ]] || options+=(--platform "$MSO_PLATFORM")
		DOCKER_BUILDKIT=0 run_logged "build image $name" docker build --network host \
			--build-arg BASE="$BASE_IMAGE" "${options[@]}" -t "$TAG" -f "$(containerfile "$name")" "$REPO_DIR"
		log "$TAG: $(image_size "$TAG") MB"
	fi
	docker tag "$TAG" "model-safety/$name:dev"
	forget_outdated "$name"
}

image_size() { echo $(($(docker image inspect -f '{{.Size}}' "$1") / 1000000)); }

forget_outdated() {
	local tag
	for tag in $(docker image ls --format '{{.Repository}}:{{.Tag}}' "model-safety/$1"); do
		[[ "$tag" == "$TAG" || "$tag" == "model-safety/$1:dev" ]] || docker rmi "$tag" >/dev/null 2>&1 || true
	done
}

node_ctr() { docker exec -i "$NODE" ctr -n k8s.io "$@"; }
# Not grep -q: it ends the pipe early, which pipefail takes for a failure.
node_has() { node_ctr images ls -q | grep -x "docker.io/$1" >/dev/null; }

# built_tag NAME: sets TAG to the latest build, which need not be of the tree as
# it is now.
built_tag() {
	TAG=$(docker image inspect -f '{{join .RepoTags "\n"}}' "model-safety/$1:dev" 2>/dev/null | grep -v ':dev$' | head -1) ||
		die "the $1 image is not built. Run: hack/images.sh build $1"
}

load() {
	local name="$1"
	built_tag "$name"
	if node_has "$TAG"; then
		log "$TAG is in the node already"
	else
		# The archive's layers and their unpacked copy.
		need_disk "$(($(image_size "$TAG") * 22 / 10000 + 1))" "loading the $name image"
		run_logged "load image $name" stream_into_node "$TAG"
	fi
	node_ctr images tag --force "docker.io/$TAG" "docker.io/model-safety/$name:dev" >/dev/null
	node_forget_outdated "$name"
}

stream_into_node() {
	if ! send_missing_layers "$1"; then
		log "sending the missing layers alone failed; sending the whole image"
		docker save "$1" | dd bs=4M status=progress | node_ctr images import -
	fi
}

send_missing_layers() {
	node_blobs | "$HACK_DIR/cluster/send-image.py" "$1" "$MSO_CACHE/layer-digests.json" | node_ctr images import -
}

# node_blobs: digest and size of what the node's content store holds.
node_blobs() {
	docker exec "$NODE" sh -c 'cd /var/lib/containerd/io.containerd.content.v1.content/blobs/sha256 &&
		ctr -n k8s.io content ls -q | cut -d: -f2 | xargs -r stat -c "%n %s"'
}

node_forget_outdated() {
	local found
	for found in $(node_ctr images ls -q | grep "^docker.io/model-safety/$1:"); do
		[[ "$found" == "docker.io/$TAG" || "$found" == *:dev ]] || node_ctr images rm "$found" >/dev/null
	done
}

list() {
	image_tag "$1"
	printf '%s built=%s loaded=%s\n' "$TAG" \
		"$(docker image inspect "$TAG" >/dev/null 2>&1 && echo yes || echo no)" \
		"$(node_runs && node_has "$TAG" && echo yes || echo no)"
}

main() {
	local action="${1:-}" name names
	[[ "$action" =~ ^(build|load|list)$ ]] || die "$USAGE"
	shift
	names=("$@")
	[[ ${#names[@]} -gt 0 && "${names[0]}" != all ]] || names=(operator guardrails worker)
	engine_up
	[[ "$action" != load || " ${names[*]} " != *" worker-gpu "* ]] || die "worker-gpu is not for the local cluster, which has no GPU. Push it to a registry."
	[[ "$action" != load ]] || node_runs || die "the cluster does not run. Start it: hack/cluster/up.sh"
	base_image
	for name in "${names[@]}"; do
		[[ -n "${BUILD_GIGABYTES[$name]:-}" ]] || die "unknown image '$name'. $USAGE"
		with_lock "image-$name" "$action" "$name"
	done
}

main "$@"
