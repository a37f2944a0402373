"""ECGs that belong to nobody: the models that make them, their training and their proof.

``generate(n, model, seed, condition)`` makes records in memory. Neither it nor importing this needs torch, which only
training does (``python -m synth.train``).
"""

from .condition import CLASSES, Condition
from .generate import NAMES, generate

__all__ = ["CLASSES", "NAMES", "Condition", "generate"]
