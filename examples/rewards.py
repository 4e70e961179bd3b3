"""Reward functions with TRL's signature; see docs/rewards.md.

A config uses them as `rewards: [{use: ./rewards.py:short}, ...]`. Each function receives lists with
one entry for each response (the columns of the problems are more keywords), and returns a list of
numbers of the same length.
"""

import asyncio


def text_of(completion):
    """Text of a completion, which is a list of messages if the prompt is a conversation."""
    return completion if isinstance(completion, str) else completion[-1]["content"]


def short(completions, **kwargs):
    """1 for an empty completion, 0.5 for 20 characters, towards 0 for long ones."""
    return [20 / (20 + len(text_of(completion))) for completion in completions]


async def closeness(completions, answer, **kwargs):
    """Closeness to the reference, in [-1, 1] (`rescale: [-1, 1]`).

    None (not applicable) if the reference is not a number.
    """

    async def one(completion, reference):
        await asyncio.sleep(0)  # a real reward would call an LLM judge or a sandbox here
        if not isinstance(reference, int | float):
            return None
        last = text_of(completion).rstrip(" .").rpartition(" ")[2]
        return 1 - min(2, abs(int(last) - reference)) if last.lstrip("-").isdigit() else -1

    return await asyncio.gather(*map(one, completions, answer))
