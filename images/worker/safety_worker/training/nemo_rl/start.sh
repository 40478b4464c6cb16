#!/bin/sh
# The train stage in an image of NeMo-RL: what is wrong with an image whose Python is not there, or does not
# start, no Python of it can tell. Ends with 42 and a record where a person must act.
python=${NEMO_RL_PYTHON:-/opt/nemo_rl_venv/bin/python}

refuse() {
  hash=$(sed -n 's/.*"inputsHash": *"\([^"]*\)".*/\1/p' "$spec" 2>/dev/null | head -n 1)
  words=$(printf '%s' "$2" | tr -d '\000-\037"\134')
  printf '{"stage":"train","inputsHash":"%s","failure":{"failure":"Input","reason":"%s","message":"%s"}}' \
    "$hash" "$1" "$words" >"${SAFETY_TERMINATION_LOG:-/dev/termination-log}"
  echo "$1: $words" >&2
  exit 42
}

spec=
before=
for argument in "$@"; do
  if [ "$before" = --spec ]; then spec=$argument; fi
  before=$argument
done

ways="set nemoRl.runAsRoot, which needs a namespace of Pod Security level baseline, or name in nemoRl.image an
 image made from the published one that other users can start (docs/safetyfinetune.md)"
if [ ! -e "$python" ] && [ -L "$python" ]; then
  refuse ImageNeedsRoot "user $(id -u) may not start $python, a link to $(readlink "$python"): $ways"
fi
if [ ! -e "$python" ]; then
  refuse NoNemoRl "the image has no $python: set nemoRl.image to an image of NeMo-RL of nemoRl.version"
fi
said=$("$python" -c "import pydantic, yaml" 2>&1) || case $said in
*ermission* | *encodings*) refuse ImageNeedsRoot "user $(id -u) may not start $python: $ways" ;;
*) refuse NoNemoRl "$python of the image does not start: $(echo "$said" | tail -n 1 | cut -c 1-300). Set
 nemoRl.image to an image of NeMo-RL of nemoRl.version" ;;
esac
exec "$python" -m safety_worker.training.nemo_rl "$@"
