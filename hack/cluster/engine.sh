# shellcheck shell=bash
# The docker engine of the local cluster: the machine's own where one answers,
# else one of ours with its data in the cache folder. Sourced by the scripts in
# hack/cluster/ and by hack/images.sh, after hack/lib.sh.
#
# 198.18.0.0/15 is the benchmarking range: free on every machine, whereas
# docker's own default ranges and 192.0.2.0/24 may carry the machine's traffic.

ENGINE_DIR="$MSO_CACHE/engine"
ENGINE_SOCKET="unix://$ENGINE_DIR/docker.sock"
ENGINE_PIDFILE="$ENGINE_DIR/docker.pid"
ENGINE_BRIDGE=198.19.250.1/24
ENGINE_POOL=198.19.240.0/22
# shellcheck disable=SC2034  # for up.sh
KIND_SUBNET=198.19.240.0/24
NO_RESOURCE_RUNTIME=runc-without-sys-resource
# How long an engine of ours that runs may take to answer: on a busy machine it is slow, and a second one in its
# place would end the cluster.
SLOW_ENGINE_SECONDS=60
IPTABLES_TABLES=(raw mangle nat filter)

engine_answers() { timeout 10 docker ${1:+-H "$1"} version >/dev/null 2>&1; }
our_engine_answers() { engine_answers "$ENGINE_SOCKET"; }
engine_is_ours() { alive "$ENGINE_PIDFILE" dockerd; }

# engine_find: points docker at the engine that runs, ours first. False if none.
engine_find() {
	if engine_is_ours && wait_until "$SLOW_ENGINE_SECONDS" "the docker engine" our_engine_answers; then
		export DOCKER_HOST="$ENGINE_SOCKET"
		return 0
	fi
	command -v docker >/dev/null && engine_answers
}

# engine_up: makes sure that an engine answers, and points docker at it.
engine_up() {
	engine_find && return 0
	with_lock engine engine_start
	engine_find || die "the docker engine started but does not answer. Its log: $LOG_DIR/dockerd.log"
}

engine_start() {
	! engine_find || return 0
	[[ $EUID -eq 0 ]] || die "no docker engine answers, and starting one needs root. Start docker, or run as root."
	apt_install docker.io iptables nftables iproute2 procps python3 jq util-linux
	# Where the package's service started one, that one will do.
	! engine_find || return 0
	# An engine that was killed leaves mounts and shims behind.
	engine_end_leftovers
	rm -rf "$ENGINE_DIR/exec"
	mkdir -p "$ENGINE_DIR/data" "$ENGINE_DIR/exec"
	engine_note_before
	local options=(
		--data-root "$ENGINE_DIR/data" --exec-root "$ENGINE_DIR/exec"
		-H "$ENGINE_SOCKET" --pidfile "$ENGINE_PIDFILE"
		--bip "$ENGINE_BRIDGE" --default-address-pool "base=$ENGINE_POOL,size=24"
	)
	if ! has_sys_resource; then
		log "this machine lacks CAP_SYS_RESOURCE: containers run through hack/cluster/oci-runtime.py"
		# A copy, because the engine may outlive this checkout.
		install -m 755 "$HACK_DIR/cluster/oci-runtime.py" "$ENGINE_DIR/oci-runtime.py"
		options+=(--add-runtime "$NO_RESOURCE_RUNTIME=$ENGINE_DIR/oci-runtime.py" --default-runtime "$NO_RESOURCE_RUNTIME")
	fi
	rm -f "$ENGINE_PIDFILE"
	setsid dockerd "${options[@]}" >"$LOG_DIR/dockerd.log" 2>&1 </dev/null &
	if ! wait_until 60 "the docker engine" engine_answers "$ENGINE_SOCKET"; then
		tail -n 20 "$LOG_DIR/dockerd.log" >&2
		die "dockerd did not start. Its log: $LOG_DIR/dockerd.log"
	fi
	log "docker engine started (socket $ENGINE_SOCKET)"
}

# Bit 24 of the capabilities that a child may have.
has_sys_resource() {
	local bounding
	bounding=$(awk '/^CapBnd/ {print $2}' /proc/self/status)
	(((16#$bounding >> 24) & 1))
}

# engine_note_before: what of the machine's network was there before dockerd,
# so that engine_stop leaves it so. Kept when an earlier run was cut off.
engine_note_before() {
	local note="$ENGINE_DIR/before"
	[[ ! -d "$note" ]] || return 0
	rm -rf "$note.partial"
	mkdir -p "$note.partial"
	cat /proc/sys/net/ipv4/ip_forward >"$note.partial/ip_forward"
	nft list tables >"$note.partial/nft_tables" 2>/dev/null || true
	iptables -S FORWARD 2>/dev/null | head -1 >"$note.partial/forward_policy" || true
	ip -o link show docker0 >"$note.partial/docker0" 2>/dev/null || true
	mv "$note.partial" "$note"
}

# engine_stop: ends our engine and takes back what it did to the machine.
# The machine's own engine is left alone.
engine_stop() {
	if engine_is_ours; then
		local pid
		pid=$(cat "$ENGINE_PIDFILE")
		kill "$pid"
		if ! wait_until 30 "the docker engine to end" process_gone "$pid"; then
			log "dockerd does not end; killing it and its containerd"
			kill -9 "$pid"
		fi
	fi
	[[ -d "$ENGINE_DIR" ]] || return 0
	engine_end_leftovers
	[[ ! -d "$ENGINE_DIR/before" ]] || engine_restore_network
}

process_gone() { [[ ! -d "/proc/$1" ]] || grep -q '^State:.*Z' "/proc/$1/status"; }

# What a killed engine leaves: its containerd and shims (recognised by our
# folder in their command line), mounts below our folder, empty cgroups.
engine_end_leftovers() {
	local pid mount_point container
	# Containers go on without their engine, and the node's would keep its image store locked.
	for container in "$ENGINE_DIR"/data/containers/*; do
		container=$(basename "$container")
		[[ "$container" =~ ^[0-9a-f]{64}$ ]] || continue
		find /sys/fs/cgroup -path "*$container*" -name cgroup.procs -exec cat {} + 2>/dev/null || true
	done | sort -u | xargs -r kill -9 2>/dev/null || true
	for pid in $(pgrep -f -- "$ENGINE_DIR/exec" || true); do
		[[ "$pid" == "$$" ]] || kill -9 "$pid" 2>/dev/null || true
	done
	rm -f "$ENGINE_PIDFILE" "$ENGINE_DIR/docker.sock"
	findmnt -rno TARGET | { grep "^$ENGINE_DIR/" || true; } | sort -r | while read -r mount_point; do
		umount -l "$mount_point" || log "could not unmount $mount_point"
	done
	find /sys/fs/cgroup -mindepth 2 -depth -type d -path '*/docker*' -exec rmdir {} + 2>/dev/null || true
}

engine_restore_network() {
	local note="$ENGINE_DIR/before" table
	[[ -s "$note/docker0" ]] || ip link delete docker0 2>/dev/null || true
	for table in "${IPTABLES_TABLES[@]}"; do
		iptables_forget "$table"
		# iptables makes a whole nft table as it adds its first rule.
		if ! grep -qx "table ip $table" "$note/nft_tables" && ! iptables -t "$table" -S | grep '^-[AN]' >/dev/null; then
			nft delete table ip "$table" 2>/dev/null || true
		fi
	done
	cat "$note/ip_forward" >/proc/sys/net/ipv4/ip_forward
	rm -rf "$note"
}

# iptables_forget TABLE: deletes docker's rules and chains, and only those.
iptables_forget() {
	local table="$1" rule chain
	iptables -t "$table" -S 2>/dev/null | sed -nE '/DOCKER|docker0|198\.19\.2[45]/ s/^-A/-D/p' |
		while read -r rule; do
			# shellcheck disable=SC2086  # a rule is several words
			iptables -t "$table" $rule 2>/dev/null || true
		done
	for chain in $(iptables -t "$table" -S 2>/dev/null | awk '/^-N DOCKER/ {print $2}'); do
		iptables -t "$table" -F "$chain"
	done
	for chain in $(iptables -t "$table" -S 2>/dev/null | awk '/^-N DOCKER/ {print $2}'); do
		iptables -t "$table" -X "$chain" || true
	done
	if [[ "$table" == filter && "$(cat "$ENGINE_DIR/before/forward_policy")" != "-P FORWARD DROP" ]]; then
		iptables -P FORWARD ACCEPT
	fi
}
