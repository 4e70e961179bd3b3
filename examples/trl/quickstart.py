"""The GRPO example of TRL's documentation with two changed lines: the import and the class.

The script needs the Hub for the model and the data.
"""

from datasets import load_dataset
from genac_trl import GenACTrainer
from trl.rewards import accuracy_reward

dataset = load_dataset("trl-lib/DeepMath-103K", split="train")

trainer = GenACTrainer(
    model="Qwen/Qwen2.5-0.5B-Instruct",
    reward_funcs=accuracy_reward,
    train_dataset=dataset,
)
trainer.train()
