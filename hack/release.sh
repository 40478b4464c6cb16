#!/usr/bin/env bash
# Every step of a release on this machine, but the push: versions, images of this
# machine's architecture, their software bills of materials, the chart with
# digests, signing. What is not installed is said and left out. What a release
# really pushes is made by .github/workflows/release.yml.
# Usage: hack/release.sh [--images] [OUT]
#   --images  build all images, worker-gpu too; else those that are built already count
#   OUT       folder of the results; a fresh one below $MSO_CACHE where absent
# shellcheck source=hack/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=hack/cluster/engine.sh
source "$HACK_DIR/cluster/engine.sh"

IMAGES=(operator worker worker-gpu guardrails)
# Where a release would be: an address that leads nowhere, since nothing is pushed.
REGISTRY="${REGISTRY:-registry.example.com/model-safety-operator}"
SKIPPED=()

skip() {
	log "left out: $*"
	SKIPPED+=("$*")
}

chart() { "$REPO_DIR/.venv/bin/python" "$HACK_DIR/release/chart.py" "$@"; }

# digest_of NAME: the image's identity here. A registry's digest is of the
# manifest as it is pushed, so the chart that is made here is for looking at.
digest_of() { docker image inspect -f '{{.Id}}' "model-safety/$1:dev" 2>/dev/null; }

collect_digests() {
	local name digest
	mkdir -p "$OUT/digests"
	for name in "${IMAGES[@]}"; do
		digest=$(digest_of "$name") || digest=""
		if [[ -z "$digest" ]]; then
			skip "image $name, which is not built here (hack/images.sh build $name): the chart gets zeros for it"
			digest="sha256:$(printf '0%.0s' {1..64})"
		fi
		printf '%s\n' "$digest" >"$OUT/digests/$name"
	done
}

write_sboms() {
	local name
	command -v syft >/dev/null || { skip "software bills of materials: syft is not installed" && return 0; }
	for name in "${IMAGES[@]}"; do
		! digest_of "$name" >/dev/null || run_logged "SBOM of $name" syft "docker:model-safety/$name:dev" -o "spdx-json=$OUT/$name.spdx.json"
	done
}

# A key that is thrown away: keyless signing needs the identity of a workflow.
try_signing() {
	command -v cosign >/dev/null || { skip "signing: cosign is not installed" && return 0; }
	(cd "$OUT" && COSIGN_PASSWORD="" cosign generate-key-pair >/dev/null 2>&1 &&
		COSIGN_PASSWORD="" cosign sign-blob --yes --tlog-upload=false --key cosign.key --output-signature chart.sig "$1" >/dev/null &&
		cosign verify-blob --insecure-ignore-tlog --key cosign.pub --signature chart.sig "$1")
	rm -f "$OUT/cosign.key"
}

main() {
	local build=no version package
	[[ "${1:-}" != --images ]] || { build=yes && shift; }
	OUT="${1:-$MSO_CACHE/release}"
	rm -rf "$OUT/digests"
	mkdir -p "$OUT"
	"$HACK_DIR/venv.sh"
	"$HACK_DIR/tools.sh" helm
	version=$(chart version "${TAG:-}")
	log "version $version"
	if [[ "$build" == yes ]]; then
		"$HACK_DIR/images.sh" build "${IMAGES[@]}"
	fi
	docker buildx version >/dev/null 2>&1 || skip "images of other architectures, and attestations: docker buildx is not installed"
	engine_find || skip "images: no docker engine answers"
	collect_digests
	write_sboms
	package=$(chart package --registry "$REGISTRY" --digests "$OUT/digests" --out "$OUT")
	helm template release "$package" >"$OUT/rendered.yaml"
	grep -q "image: $REGISTRY/model-safety/operator@sha256:" "$OUT/rendered.yaml" || die "the packaged chart does not name the operator's image by digest."
	try_signing "$package"
	log "chart: $package; nothing was pushed"
	printf 'left out: %s\n' "${SKIPPED[@]:-nothing}"
}

main "$@"
