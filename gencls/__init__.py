"""Generative text classifiers: one masked-diffusion language model per class, and Bayes' rule.

Axis legend, used in every docstring: N texts, C classes, K draws, B batch, L tokens, V vocabulary.
Log-probabilities are natural logarithms (nats), float64 where they are summed over tokens.

The public names load on first use, so that ``import gencls`` and ``gencls --help`` cost
milliseconds and load neither torch nor transformers.

>>> import gencls
>>> "DiffusionClassifier" in dir(gencls)
True
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gencls.classifier.bayes import BayesClassifier
    from gencls.classifier.estimator import DiffusionClassifier
    from gencls.data import load_dataset
    from gencls.training.config import TrainConfig

__version__ = "0.1.0"

__all__ = ["BayesClassifier", "DiffusionClassifier", "TrainConfig", "__version__", "load_dataset"]

_HOME_OF = {
    "BayesClassifier": "gencls.classifier.bayes",
    "DiffusionClassifier": "gencls.classifier.estimator",
    "TrainConfig": "gencls.training.config",
    "load_dataset": "gencls.data",
}


def __getattr__(name: str) -> object:
    """Import a public name from its room on first use (PEP 562)."""
    if name not in _HOME_OF:
        raise AttributeError(f"module 'gencls' has no attribute {name!r}; the public names are {__all__}")
    value = getattr(import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
