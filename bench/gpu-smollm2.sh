#!/usr/bin/env bash
# GenAC and the group mean on SmolLM2-135M, on one GPU: success at equal actor tokens, the critic's
# error beside its constant's, tokens and seconds by part. --minutes ends it in time.
#
#     bash bench/gpu-smollm2.sh [--tiny] [--families sums,mixed] [--seeds 0] [--minutes 9] OUT
#     bash bench/gpu-smollm2.sh [--tiny] --schedule OUT
#     bash bench/gpu-smollm2.sh [--tiny] --tables OUT
#
# --tiny: a model of random weights on the CPU, to see that every part runs.
# --schedule: seconds of an iteration by schedule and number of workers, and nothing else.
# --tables: tables 3 to 6 of `genac reproduce` on sums, as far as the time reaches.
# MODEL names the model's folder (default runs/smollm2/model, see examples/smollm2/fetch.py);
# PROBLEMS a folder of bench/gpu/arithmetic.py, which is called if it is missing; NODE and PYTHON
# the interpreters. Packages that Python lacks are taken from the wheels in $WHEELS. A machine
# without a network gets what is missing from gpu-pack.sh.
set -eu
cd "$(dirname "$0")/.."
tiny="" out="" rest=() script=smollm2
while [ $# -gt 0 ]; do
  case "$1" in
    --tiny) tiny=--tiny ;;
    --schedule | --tables) script="${1#--}" ;;
    --families | --seeds | --minutes) rest+=("$1" "$2"); shift ;;
    -*) echo "unknown option $1" >&2; exit 2 ;;
    *) out="$1" ;;
  esac
  shift
done
if [ "$script" != smollm2 ] && [ ${#rest[@]} -gt 0 ]; then
  echo "--$script takes no --families, --seeds or --minutes: leave them out" >&2; exit 2
fi
[ -n "$out" ] || { sed -n '5,7p' "$0" >&2; exit 2; }
mkdir -p "$out"
default_python=.venv/bin/python
[ -x "$default_python" ] || default_python=python3
export GENAC_PYTHON="${PYTHON:-$default_python}"
if [ -n "${WHEELS:-}" ]; then
  for wheel in "$WHEELS"/*.whl; do "$GENAC_PYTHON" -m zipfile -e "$wheel" "$out/site"; done
fi
export PYTHONPATH="$PWD/python_bridge:$out/site${PYTHONPATH:+:$PYTHONPATH}"
export HF_HUB_OFFLINE=1 PYTHONUNBUFFERED=1
problems="${PROBLEMS:-$out/problems}"
[ -f "$problems/sums-train.jsonl" ] || "$GENAC_PYTHON" bench/gpu/arithmetic.py "$problems"
model="${MODEL:-runs/smollm2/model}"
if [ ! -f "$model/config.json" ]; then
  echo "there is no model in $model: run $GENAC_PYTHON examples/smollm2/fetch.py, or name another" \
    "folder by MODEL" >&2
  exit 2
fi
if [ -n "$tiny" ]; then
  "$GENAC_PYTHON" bench/gpu/tiny_model.py "$model" "$out/tiny-model"
  model="$out/tiny-model"
fi
"${NODE:-node}" --import tsx "bench/gpu/$script.ts" $tiny "${rest[@]}" \
  --model "$model" --problems "$problems" --out "$out"
cat "$out/$script.md"
