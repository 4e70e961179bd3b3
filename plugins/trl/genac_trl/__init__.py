"""GenAC as a trainer in TRL:

`GenACTrainer` and `GenACConfig` in the places of `GRPOTrainer` and `GRPOConfig`.
"""

from .callbacks import CriticQualityCallback, SaveValuationsCallback
from .config import GenACConfig
from .controller import ControllerError
from .trainer import GenACTrainer

__version__ = "0.1.0"
__all__ = [
    "ControllerError",
    "CriticQualityCallback",
    "GenACConfig",
    "GenACTrainer",
    "SaveValuationsCallback",
]
