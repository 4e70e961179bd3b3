"""Prints a trained critic's value estimate after each prefix of a response.

    .venv/bin/python examples/value.py runs/demo/genac
"""

import sys

from genac_bridge import Critic

folder = sys.argv[1] if len(sys.argv) > 1 else "runs/demo/genac"
problem = "5 | a -4 | b *3 | c +5 | d +1 | e +2 | f *4 | g +3 | h +5 | >"
with Critic(folder) as critic:
    for prefix in critic.value(problem, "a 1 b 3 c 8")["prefixes"]:
        print(prefix["value"], repr(prefix["response"]))
    best = critic.rank(problem, ["a 1 b 3 c 8", "a 1 b 4 c 8"])[0]
    print("best:", best["index"])
