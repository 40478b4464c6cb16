#!/usr/bin/env bash
# Puts the pinned tools into $MSO_CACHE/bin: go (link), kind, helm, kubectl,
# etcd and the other Kubernetes components (one multi-call binary), CoreDNS and
# pause for the node image, uv, Chromium, argocd, KubeRay's operator with its
# CRDs. Each is rebuilt only when its inputs changed.
# Usage: hack/tools.sh [all|go|kubernetes|kind|helm|uv|node|chromium|argocd|kuberay]...   (default: all)
# shellcheck source=hack/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

STORE="$MSO_CACHE/tools"
SOURCES="$HACK_DIR/cluster/node-image"
KUBERNETES_NAMES=(kubectl etcd kube-apiserver kube-controller-manager kube-scheduler kube-proxy kubelet kubeadm)
mkdir -p "$STORE"

version_at_least() { [[ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -1)" == "$1" ]]; }

# find_go: sets GO to a Go that is new enough; fetches one where there is none.
find_go() {
	[[ -z "${GO:-}" ]] || return 0
	local candidate
	# Set by nobody but find_go: GOTOOLCHAIN=local tells the true version.
	for candidate in "$STORE/go/bin/go" "$(PATH="${PATH//"$BIN_DIR":/}" command -v go || true)" /usr/local/go/bin/go; do
		[[ -x "$candidate" ]] || continue
		if version_at_least "$GO_MINIMUM" "$(GOTOOLCHAIN=local "$candidate" env GOVERSION | sed 's/^go//')"; then
			GO="$candidate"
			ln -sfn "$GO" "$BIN_DIR/go"
			export GO GOTOOLCHAIN=local CGO_ENABLED=0 GOFLAGS=-buildvcs=false
			return
		fi
	done
	apt_install golang-go ca-certificates jq
	run_logged "fetch Go $TOOLCHAIN_VERSION" fetch_go
	find_go
}

# Go's own distribution as a module: Debian's Go 1.19 can download it. A module
# carries no executable bits, hence the chmod.
fetch_go() {
	local platform module folder
	platform="linux-$(dpkg --print-architecture)"
	module="golang.org/toolchain@v0.0.1-go$TOOLCHAIN_VERSION.$platform"
	need_disk 2 "the Go toolchain"
	folder=$(cd "$STORE" && GOFLAGS=-modcacherw /usr/bin/go mod download -json "$module" | jq -r .Dir)
	rm -rf "$STORE/go.partial" "$STORE/go"
	cp -a "$folder" "$STORE/go.partial"
	chmod -R u+w "$STORE/go.partial"
	chmod +x "$STORE/go.partial"/bin/* "$STORE/go.partial/pkg/tool"/*/*
	mv "$STORE/go.partial" "$STORE/go"
}

# install_tool NAME HASH BUILD_FUNCTION: builds NAME into the store under its
# hash (to a partial file first) and links it into bin.
install_tool() {
	local name="$1" hash="$2" build="$3"
	local file="$STORE/$name-$hash"
	if [[ ! -x "$file" ]]; then
		find_go
		need_disk 6 "building $name (Go's module and build caches)" "$HOME"
		run_logged "build $name" "$build" "$file.partial"
		mv "$file.partial" "$file"
		find "$STORE" -maxdepth 1 -name "$name-*" ! -name "$name-$hash" -delete
	fi
	ln -sfn "$file" "$BIN_DIR/$name"
}

# build_own FOLDER OUTPUT [LDFLAGS]: one of our own Go modules.
build_own() { (cd "$SOURCES/$1" && "$GO" build -trimpath -ldflags "-s -w ${3:-}" -o "$2" .); }

# build_module PACKAGE@VERSION OUTPUT [LDFLAGS]: a command of somebody's module.
build_module() {
	local folder="$2.d"
	(cd "$STORE" && GOBIN="$folder" "$GO" install -trimpath -ldflags "-s -w ${3:-}" "$1")
	mv "$folder"/* "$2"
	rmdir "$folder"
}

build_kubernetes() {
	local package=k8s.io/component-base/version version=$KUBERNETES_VERSION
	local major="${version%%.*}" minor="${version#*.}"
	build_own kubernetes "$1" "-X $package.gitVersion=v$version -X $package.gitMajor=$major -X $package.gitMinor=${minor%.*} -X $package.gitTreeState=clean"
}

build_coredns() { build_own coredns "$1"; }
build_pause() { build_own pause "$1"; }
build_kind() { build_module "sigs.k8s.io/kind@$KIND_VERSION" "$1"; }
build_kuberay() { build_module "$KUBERAY_MODULE@$KUBERAY_VERSION" "$1"; }

# The operator, and the manifests of the same version as they are in its module.
install_kuberay() {
	local config="$STORE/kuberay-config-$KUBERAY_VERSION" source
	install_tool kuberay "$(hash_inputs "$KUBERAY_VERSION")" build_kuberay
	if [[ ! -d "$config" ]]; then
		find_go
		source=$(cd "$STORE" && "$GO" mod download -json "$KUBERAY_MODULE@$KUBERAY_VERSION" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
		rm -rf "$config.partial"
		cp -r --no-preserve=mode "$source/config" "$config.partial"
		mv "$config.partial" "$config"
	fi
	ln -sfn "$config" "$BIN_DIR/kuberay-config"
	ln -sfn "$config/crd/bases" "$BIN_DIR/kuberay-crds"
}

# Argo CD's module refers to a folder of its repository that modules do not carry: built with a copy of its
# go.mod that names that folder's own module. Without its web pages, which the command line does not need.
build_argocd() {
	local folder="$1.d" module=github.com/argoproj/argo-cd source
	rm -rf "$folder"
	mkdir -p "$folder"
	source=$(cd "$STORE" && "$GO" mod download -json "$module/v3@$ARGOCD_VERSION" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
	cp "$source/go.mod" "$source/go.sum" "$folder/"
	chmod u+w "$folder"/go.*
	"$GO" mod edit -replace "$module/gitops-engine=$module/gitops-engine@$GITOPS_ENGINE_VERSION" "$folder/go.mod"
	(cd "$source" && GOFLAGS="$GOFLAGS -mod=mod" "$GO" build -modfile="$folder/go.mod" -trimpath -ldflags "-s -w" -o "$1" ./cmd)
	rm -rf "$folder"
}

# Without these flags `helm template` believes in Kubernetes 1.20.
build_helm() {
	local module=helm.sh/helm/v3 minor="${KUBERNETES_VERSION#*.}"
	local kube="-X $module/pkg/chartutil.k8sVersionMajor=1 -X $module/pkg/chartutil.k8sVersionMinor=${minor%.*}"
	local lint="-X $module/pkg/lint/rules.k8sVersionMajor=1 -X $module/pkg/lint/rules.k8sVersionMinor=${minor%.*}"
	build_module "$module/cmd/helm@$HELM_VERSION" "$1" "-X $module/internal/version.version=$HELM_VERSION $kube $lint"
}

install_kubernetes() {
	local name
	install_tool kubernetes "$(hash_inputs "$SOURCES/kubernetes" "$KUBERNETES_VERSION")" build_kubernetes
	for name in "${KUBERNETES_NAMES[@]}"; do
		ln -sfn "$(readlink "$BIN_DIR/kubernetes")" "$BIN_DIR/$name"
	done
}

install_uv() {
	[[ ! -x "$BIN_DIR/uv" ]] || return 0
	local found
	found=$(PATH="${PATH//"$BIN_DIR":/}" command -v uv || true)
	if [[ -z "$found" ]]; then
		apt_install python3 python3-venv
		run_logged "install uv" venv_with_uv
		found="$STORE/uv/bin/uv"
	fi
	ln -sfn "$found" "$BIN_DIR/uv"
}

venv_with_uv() {
	rm -rf "$STORE/uv"
	python3 -m venv "$STORE/uv" && "$STORE/uv/bin/pip" install --quiet uv
}

# A Chromium of the distribution, for tests of pages: the small headless shell
# where there is none. Fonts, so that text has a width.
install_chromium() {
	[[ ! -x "$BIN_DIR/chromium" ]] || return 0
	local candidate found=""
	for candidate in chromium-headless-shell chromium chromium-browser google-chrome; do
		found=$(PATH="${PATH//"$BIN_DIR":/}" command -v "$candidate") && break
	done
	if [[ -z "$found" ]]; then
		apt_install chromium-headless-shell fonts-dejavu-core
		found=$(command -v chromium-headless-shell)
	fi
	ln -sfn "$found" "$BIN_DIR/chromium"
}

install_one() {
	case "$1" in
	kubernetes) install_kubernetes ;;
	kind) install_tool kind "$(hash_inputs "$KIND_VERSION")" build_kind ;;
	helm) install_tool helm "$(hash_inputs "$HELM_VERSION" "$KUBERNETES_VERSION")" build_helm ;;
	argocd) install_tool argocd "$(hash_inputs "$ARGOCD_VERSION" "$GITOPS_ENGINE_VERSION")" build_argocd ;;
	kuberay) install_kuberay ;;
	uv) install_uv ;;
	go) find_go ;;
	chromium) install_chromium ;;
	node)
		install_tool coredns "$(hash_inputs "$SOURCES/coredns")" build_coredns
		install_tool pause "$(hash_inputs "$SOURCES/pause")" build_pause
		;;
	*) die "unknown tool '$1'. Usage: hack/tools.sh [all|go|kubernetes|kind|helm|uv|node|chromium|argocd|kuberay]..." ;;
	esac
}

main() {
	local tool wanted=("$@")
	[[ $# -gt 0 && "$1" != all ]] || wanted=(uv kind kubernetes helm)
	for tool in "${wanted[@]}"; do
		with_lock "tool-$tool" install_one "$tool"
	done
}

main "$@"
