"""Writes problems of reasoning-gym as JSONL, for a machine that lacks the package.

python bench/gpu/arithmetic.py FOLDER [--rows 8192]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import reasoning_gym

ONE_DIGIT = {"min_digits": 1, "max_digits": 1}
FAMILIES = {
    "sums": ("chain_sum", {"min_terms": 2, "max_terms": 3, **ONE_DIGIT}),
    # Products and sums mixed: the order of calculation counts.
    "mixed": (
        "basic_arithmetic",
        {
            **{"min_terms": 2, "max_terms": 3, **ONE_DIGIT},
            **{"operators": ["+", "-", "*"], "allow_parentheses": False},
        },
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=8192)
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    for family, (name, parameters) in FAMILIES.items():
        # One-digit problems repeat: what is held out is nowhere trained on.
        seen: set[str] = set()
        for split, seed, rows in (("heldout", 1, 512), ("train", 0, given.rows)):
            problems = reasoning_gym.create_dataset(name, size=rows, seed=seed, **parameters)
            kept = [p for p in problems if p["question"] not in seen]
            if split == "heldout":
                seen = {p["question"] for p in kept}
            lines = [json.dumps({k: str(p[k]) for k in ("question", "answer")}) for p in kept]
            (given.folder / f"{family}-{split}.jsonl").write_text("\n".join(lines) + "\n")
            print(f"{family}-{split}: {len(kept)} problems")


if __name__ == "__main__":
    main()
