"""What GenAC costs a TRL user: step times on a model of 11M parameters, for

1. `GRPOTrainer` and `GenACTrainer(critic="group-mean")`, whose losses are the same: to see what the
class itself costs;
2. `GenACTrainer` with a generative critic of the same size: how the time of a step divides.

    .venv/bin/python bench/trl_steps.py

The two of (1) take turns in one process, a pair of steps at a time, so that what else the machine
does falls on both. Medians. Writes docs/bench-trl.md.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from genac_trl import GenACConfig, GenACTrainer
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from trl import GRPOConfig, GRPOTrainer

STEPS = 40


def make_model(folder: Path) -> None:
    """A random Llama of 11M parameters with a byte-level tokenizer."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<pad>", "<eos>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(["what comes next, what comes after it"], trainer)
    words = PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", eos_token="<eos>")
    words.save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=384,
        intermediate_size=1024,
        num_hidden_layers=6,
        num_attention_heads=6,
        num_key_value_heads=6,
        max_position_embeddings=4096,
        bos_token_id=None,
        eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id,
    )
    torch.manual_seed(0)
    model = LlamaForCausalLM(config)
    model.generation_config.eos_token_id = (
        None  # all completions have the same length, so all steps the same work
    )
    print(f"{model.num_parameters() / 1e6:.1f}M parameters")
    model.save_pretrained(folder)


def letters(completions: list[str], **_: Any) -> list[float]:
    return [sum(c.islower() for c in text) / max(1, len(text)) for text in completions]


def build(cls: Any, config: Any, folder: Path, name: str, **options: Any) -> Any:
    args = config(
        output_dir=str(folder / name),
        per_device_train_batch_size=8,
        num_generations=4,
        max_completion_length=64,
        max_steps=STEPS,
        logging_steps=1,
        report_to="none",
        save_strategy="no",
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        disable_tqdm=True,
        **options,
    )
    data = Dataset.from_dict({"prompt": [f"What comes after {n}?" for n in range(64)]})
    trainer = cls(str(folder / "model"), letters, args, data)
    trainer.create_optimizer_and_scheduler(STEPS)
    trainer.current_gradient_accumulation_steps = 1
    return trainer


def one_step(trainer: Any, batch: Any) -> float:
    """Seconds of one step: generation, rewards, advantages, loss, gradient, optimizer."""
    began = time.perf_counter()
    trainer.model.train()
    trainer.training_step(trainer.model, batch, None)
    trainer.optimizer.step()
    trainer.optimizer.zero_grad()
    return time.perf_counter() - began


def pairs(first: Any, second: Any, count: int) -> tuple[list[float], list[float]]:
    batches = [iter(trainer.get_train_dataloader()) for trainer in (first, second)]
    times: tuple[list[float], list[float]] = ([], [])
    for n in range(count):
        for which in (0, 1) if n % 2 == 0 else (1, 0):
            trainer = (first, second)[which]
            batch = next(batches[which], None)
            if batch is None:
                batches[which] = iter(trainer.get_train_dataloader())
                batch = next(batches[which])
            times[which].append(one_step(trainer, batch))
    return times[0][4:], times[1][4:]


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        make_model(folder / "model")
        grpo = build(GRPOTrainer, GRPOConfig, folder, "grpo")
        plain = build(GenACTrainer, GenACConfig, folder, "group-mean", critic="group-mean")
        a, b = pairs(grpo, plain, STEPS)
        ratios = [y / x for x, y in zip(a, b, strict=True)]
        ratio = statistics.median(ratios)
        genac = build(
            GenACTrainer,
            GenACConfig,
            folder,
            "genac",
            critic_max_new_tokens=24,
            segmentation={"by": "tokens", "tokens": 16},
        )
        c, d = pairs(grpo, genac, 12)
        lists = genac._metrics["train"]
        metrics = {
            name: statistics.median(values[4:]) for name, values in lists.items() if len(values) > 4
        }
        parts = (
            "critic/seconds_host_waited",
            "critic/seconds_valuing",
            "critic/seconds_waited_for_update",
        )
        rest = statistics.median(
            [a - b - c for a, b, c in zip(*(lists[name][4:] for name in parts), strict=True)]
        )
        genac.close()
    step = statistics.median(d)
    waited, valuing = metrics["critic/seconds_host_waited"], metrics["critic/seconds_valuing"]
    fence, updating = (
        metrics["critic/seconds_waited_for_update"],
        metrics["critic/seconds_updating"],
    )
    page = f"""# What GenAC costs a TRL user

    .venv/bin/python bench/trl_steps.py

The model is a random Llama of 11M parameters in float32, with batches of 8 completions of 64 tokens (2 groups of 4).
The machine has 2 CPU cores: one thread for the trainer, the rest for the critic's process.
Figures are medians.

| | seconds a step |
|---|---|
| `GRPOTrainer` | {statistics.median(a):.3f} |
| `GenACTrainer(critic="group-mean")` | {statistics.median(b):.3f} |

The two trainers take steps in turns.
A step of `GenACTrainer` takes {ratio:.3f} times as long as the `GRPOTrainer` step next to it (quartiles {statistics.quantiles(ratios)[0]:.3f} to {statistics.quantiles(ratios)[2]:.3f}).

The next table has a generative critic of the same size that writes 24 tokens for each of {metrics["critic/states"]:.0f} states a step.
In the same run, `GRPOTrainer` takes {statistics.median(c):.3f} s a step.

| of one step | seconds | share |
|---|---|---|
| all | {step:.3f} | 100% |
| generation, rewards, policy update | {step - waited:.3f} | {100 * (step - waited) / step:.0f}% |
| waiting for the critic's update of the step before | {fence:.3f} | {100 * fence / step:.0f}% |
| valuations | {valuing:.3f} | {100 * valuing / step:.0f}% |
| bridge and credit | {rest:.3f} | {100 * rest / step:.1f}% |

The critic's update takes {updating:.3f} s.
The trainer waits for a part of it; the rest runs during the trainer's own update.
The critic is idle for {metrics.get("critic/seconds_idle", 0):.3f} s of a step.

If actor and critic share two cores, the critic's tokens are what a step costs.
On two GPUs the trainer waits for valuations only.
"""  # noqa: E501  # a document has a sentence a line
    Path("docs/bench-trl.md").write_text(page)
    print(page)


if __name__ == "__main__":
    main()
