#!/usr/bin/env bash
# Makes room on the local cluster: two cores hold one demonstration or the tests, not both.
# Usage: hack/set-aside.sh aside NAMESPACE   suspends what is not finished in every namespace but this one, and
#                                            resumes what was set aside of this one
#        hack/set-aside.sh back              resumes all that was set aside
# A suspended resource keeps its results, models and status; only its pods go. What was set aside is marked on
# the resource itself, so that a run that was killed in the middle loses nothing: the next one, or `back`,
# resumes it.
# shellcheck source=hack/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

MARK=modelsafety.dev/set-aside
PODS=app.kubernetes.io/managed-by=model-safety-operator
PODS_SECONDS=180
export KUBECONFIG="$MSO_CACHE/kubeconfig"

usage() { die "Usage: hack/set-aside.sh aside NAMESPACE | back"; }

# kinds: all resource types of the operator. Not the category "modelsafety": kubectl finds a category in what it
# remembers of the server's types, and does not look again when that is older than the CRDs.
kinds() {
	kubectl get crd -o json |
		jq -r '[.items[] | select(.spec.group == "modelsafety.dev") | .metadata.name] | join(",")'
}

# resources JQ_FILTER: a line "namespace kind name" for each resource that the filter selects.
resources() {
	kubectl get "$(kinds)" --all-namespaces -o json |
		jq -r --arg mark "$MARK" ".items[] | select($1) | \"\(.metadata.namespace) \(.kind) \(.metadata.name)\""
}

# patch NAMESPACE KIND NAME SUSPEND MARK: true and "true", or false and null.
patch() {
	kubectl patch "$2" "$3" -n "$1" --type merge -p \
		"{\"metadata\": {\"annotations\": {\"$MARK\": $5}}, \"spec\": {\"suspend\": $4}}" >/dev/null
}

aside() {
	local keep="$1" found namespace kind name
	back ".metadata.namespace == \"$keep\""
	found=$(resources ".metadata.namespace != \"$keep\" and .spec.suspend != true and (.status.state | IN(\"Succeeded\", \"Failed\") | not)")
	while read -r namespace kind name; do
		[[ -n "$name" ]] || continue
		patch "$namespace" "$kind" "$name" true '"true"'
		log "set aside: $kind $namespace/$name (spec.suspend: true; its results stay)"
	done <<<"$found"
	wait_until "$PODS_SECONDS" "pods of other namespaces to end" no_pods_outside "$keep" ||
		die "pods of the operator still run outside $keep after $PODS_SECONDS s:" \
			"kubectl get pods --all-namespaces -l $PODS shows them. Is the operator running?"
}

# no_pods_outside NAMESPACE: finished ones hold no cores. Fails where the API server does not say.
no_pods_outside() {
	local found
	found=$(kubectl get pods --all-namespaces -l "$PODS" -o name \
		--field-selector "status.phase!=Succeeded,status.phase!=Failed,metadata.namespace!=$1") || return 1
	[[ -z "$found" ]]
}

# back [JQ_FILTER]: only those that the filter selects.
back() {
	local found namespace kind name
	found=$(resources ".metadata.annotations[\$mark] == \"true\" and (${1:-true})")
	while read -r namespace kind name; do
		[[ -n "$name" ]] || continue
		patch "$namespace" "$kind" "$name" false null
		log "resumed: $kind $namespace/$name"
	done <<<"$found"
}

main() {
	local found
	[[ "$#:${1:-}" == 2:aside || "$#:${1:-}" == 1:back ]] || usage
	# Before the operator was installed for the first time there is nothing to set aside.
	found=$(kubectl get crd safetyevals.modelsafety.dev --ignore-not-found -o name)
	[[ -z "$found" ]] || "$@"
}

main "$@"
