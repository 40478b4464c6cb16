#!/usr/bin/env bash
# A bare etcd and kube-apiserver for integration tests: RBAC on, CRDs, no node.
# Ready in about 3 s; any number run side by side, each in its own folder.
# Usage:
#   hack/apiserver.sh start [DIR] [--controllers] [--scheduler] [-- KUBE_APISERVER_FLAG...]
#       prints the path of an administrator's kubeconfig (DIR/kubeconfig).
#       --controllers adds kube-controller-manager: garbage collection of
#       children, namespaces, Deployments, Jobs. It notices new CRDs within 30 s.
#       --scheduler adds kube-scheduler: pods get a node where a test makes some.
#   hack/apiserver.sh stop DIR    ends it and deletes DIR
#   hack/apiserver.sh stop-all    ends all that were started without a DIR
# shellcheck source=hack/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

SERVERS_DIR="$MSO_CACHE/apiservers"
KEY="$MSO_CACHE/service-account.key"
READY_SECONDS=60
SERVICE_RANGE=198.19.16.0/24

usage() { die "$(sed -n '/^# Usage/,/^# shellcheck/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" | grep -v '^shellcheck')"; }

# Ports that are free now; all held at once, so that they differ.
free_ports() {
	python3 - "$1" <<-'EOT'
		import socket, sys
		held = [socket.create_server(("127.0.0.1", 0)) for _ in range(int(sys.argv[1]))]
		print(*(each.getsockname()[1] for each in held))
	EOT
}

make_key() {
	[[ -f "$KEY" ]] || { openssl genrsa -out "$KEY.partial" 2048 2>/dev/null && mv "$KEY.partial" "$KEY"; }
}

# launch NAME COMMAND...: in the background, apart from the caller's terminal.
launch() {
	local name="$1"
	shift
	setsid "$@" >"$DIR/$name.log" 2>&1 </dev/null &
	echo $! >"$DIR/$name.pid"
}

write_kubeconfig() {
	cat >"$DIR/kubeconfig" <<-EOT
		apiVersion: v1
		kind: Config
		clusters:
		- name: test
		  cluster: {server: "https://127.0.0.1:$1", certificate-authority: "$DIR/apiserver.crt"}
		users:
		- name: admin
		  user: {token: "$TOKEN"}
		contexts:
		- name: test
		  context: {cluster: test, user: admin}
		current-context: test
	EOT
}

server_ready() { curl -fsSk --max-time 2 "https://127.0.0.1:$1/readyz"; }

start() {
	local controllers='' scheduler='' client_port peer_port api_port
	DIR=''
	while (($#)); do
		case "$1" in
		--controllers) controllers=yes ;;
		--scheduler) scheduler=yes ;;
		--) shift && break ;;
		-*) usage ;;
		*) DIR="$1" ;;
		esac
		shift
	done
	mkdir -p "$SERVERS_DIR"
	DIR="${DIR:-$(mktemp -d "$SERVERS_DIR/XXXXXX")}"
	mkdir -p "$DIR"
	DIR="$(cd "$DIR" && pwd)"
	[[ -x "$BIN_DIR/kube-apiserver" ]] || "$HACK_DIR/tools.sh" kubernetes
	apt_install curl openssl python3
	make_key
	TOKEN=$(openssl rand -hex 16)
	echo "$TOKEN,admin,admin,system:masters" >"$DIR/tokens.csv"
	read -r client_port peer_port api_port < <(free_ports 3)

	launch etcd etcd --data-dir "$DIR/etcd" --unsafe-no-fsync --log-level error \
		--listen-client-urls "http://127.0.0.1:$client_port" --advertise-client-urls "http://127.0.0.1:$client_port" \
		--listen-peer-urls "http://127.0.0.1:$peer_port" --initial-advertise-peer-urls "http://127.0.0.1:$peer_port" \
		--initial-cluster "default=http://127.0.0.1:$peer_port"
	# No ServiceAccount admission: without controllers no account exists.
	launch kube-apiserver kube-apiserver --etcd-servers "http://127.0.0.1:$client_port" \
		--bind-address 127.0.0.1 --advertise-address 127.0.0.1 --secure-port "$api_port" --cert-dir "$DIR" \
		--service-cluster-ip-range "$SERVICE_RANGE" --endpoint-reconciler-type none \
		--authorization-mode RBAC --token-auth-file "$DIR/tokens.csv" --disable-admission-plugins ServiceAccount \
		--service-account-issuer https://kubernetes.default.svc \
		--service-account-key-file "$KEY" --service-account-signing-key-file "$KEY" "$@"
	write_kubeconfig "$api_port"
	if ! wait_until "$READY_SECONDS" "the API server" server_ready "$api_port"; then
		tail -n 15 "$DIR"/*.log >&2
		die "the API server is not ready after $READY_SECONDS s. Its logs: $DIR"
	fi
	# Fake nodes of tests send no heartbeats.
	[[ -z "$controllers" ]] || launch controllers kube-controller-manager --kubeconfig "$DIR/kubeconfig" \
		--node-monitor-grace-period=24h \
		--leader-elect=false --service-account-private-key-file "$KEY" --use-service-account-credentials=false \
		--secure-port 0
	[[ -z "$scheduler" ]] || launch scheduler kube-scheduler --kubeconfig "$DIR/kubeconfig" \
		--leader-elect=false --secure-port 0
	log "API server ready at https://127.0.0.1:$api_port"
	printf '%s\n' "$DIR/kubeconfig"
}

stop() {
	local folder="$1" name
	[[ -f "$folder/kubeconfig" || -f "$folder/etcd.pid" ]] || die "$folder holds no API server of this script's."
	for name in scheduler controllers kube-apiserver etcd; do
		! alive "$folder/$name.pid" "$folder" || kill -9 "$(cat "$folder/$name.pid")"
	done
	sleep 0.1
	rm -rf "$folder"
}

stop_all() {
	local folder
	for folder in "$SERVERS_DIR"/*/; do
		[[ ! -d "$folder" ]] || stop "${folder%/}"
	done
}

case "${1:-}" in
start) shift && start "$@" ;;
stop) [[ $# -eq 2 ]] || usage && stop "$2" ;;
stop-all) stop_all ;;
*) usage ;;
esac
