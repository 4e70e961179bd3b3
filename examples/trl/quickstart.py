"""The example of TRL's documentation of GRPO with two lines changed: the import and the class.

Needs the Hub, for model and data.
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
