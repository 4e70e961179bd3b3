"""GenAC's worker: it holds models and knows tokens, losses and weights.

The algorithm lives in the controller.
"""

from .host.critic import Critic, CriticError
from .host.evaluation import evaluate

__all__ = ["Critic", "CriticError", "evaluate"]
__version__ = "0.1.0"
