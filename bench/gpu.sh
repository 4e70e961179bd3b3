#!/usr/bin/env bash
# The worker against bare Transformers on a GPU: sampling and training. Needs torch, transformers
# and peft; packages that are missing are taken from the wheels in $WHEELS.
#
#     bash bench/gpu.sh [--tiny] [--rounds 3] [--only sampling|training|sharing|attention] OUT
#
# --tiny: a small model on the CPU, to see that every part runs; attention runs on a GPU only.
# Writes OUT/NAME.json and OUT/NAME.txt. Exits with 1 where a part failed, after all were tried.
set -u -o pipefail
cd "$(dirname "$0")/.."
tiny="" only="" out="" rounds=3
while [ $# -gt 0 ]; do
  case "$1" in
    --tiny) tiny="--tiny" ;;
    --only) only="$2"; shift ;;
    --rounds) rounds="$2"; shift ;;
    -*) echo "unknown option $1" >&2; exit 2 ;;
    *) out="$1" ;;
  esac
  shift
done
[ -n "$out" ] || { sed -n '5p' "$0" >&2; exit 2; }
mkdir -p "$out"
failed=0
python="${PYTHON:-python3}"
if [ -n "${WHEELS:-}" ]; then
  for wheel in "$WHEELS"/*.whl; do "$python" -m zipfile -e "$wheel" "$out/site"; done
fi
export PYTHONPATH="$PWD/python_bridge:$out/site${PYTHONPATH:+:$PYTHONPATH}"
export HF_HUB_OFFLINE=1 PYTHONUNBUFFERED=1
for name in sampling training sharing attention; do
  [ -z "$only" ] || [ "$only" = "$name" ] || continue
  [ -z "$tiny" ] || [ "$name" != attention ] || continue
  [ -f "bench/gpu/$name.py" ] || continue
  "$python" "bench/gpu/$name.py" $tiny --rounds "$rounds" --out "$out" 2>&1 |
    tee "$out/$name.txt" || failed=1
done
exit $failed
