"""An untrained causal language model as a classifier, by one prompt per class.

Min et al. 2022, "Noisy Channel Language Model Prompting for Few-Shot Text Classification", section 4: the channel
model, p(x | prompt of c), in place of p(label | x).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gencls.baselines.causal_bayes import CausalBayes
from gencls.baselines.causal_likelihood import log_likelihood
from gencls.baselines.causal_training import Ids

PROMPT = "A {label} text:\n"


class ZeroShotCausalLM(CausalBayes):
    """An untrained causal model under one prompt per class: log p(x | prompt of c).

    The channel form, not p(label | text): it asks the model for the text, is not swayed by how common a label's word
    is, and is the same sum of log-probabilities as every generative classifier here. The prompt is fixed, whatever the
    data: choosing its wording would be training.

    Parameters
    ----------
    model : PreTrainedModel
    contexts : sequence of C int sequences
        Tokens in front of a text for each class, the start token first; `prompt_contexts` makes them.
    bf16 : bool
        Autocast to bfloat16.
    progress : bool

    Attributes
    ----------
    log_prior_, classes_ : as `CausalBayes`
    """

    def __init__(
        self, model: Any, *, contexts: Sequence[Sequence[int]], bf16: bool = False, progress: bool = False
    ) -> None:
        self.model = model
        self.contexts = contexts
        self.bf16 = bf16
        self.progress = progress

    def fit(self, ids: Ids, y: np.ndarray) -> ZeroShotCausalLM:
        """Take the class shares of ``y``, shape (N,), as the prior; the texts are not looked at.

        Raises
        ------
        ValueError
            If labels are not usable, or not as many classes as contexts.
        """
        self.count_classes(y, len(ids))
        if len(self.classes_) != len(self.contexts):
            raise ValueError(
                f"expected a context for each of {len(self.classes_)} classes, got {len(self.contexts)}: "
                "make them with prompt_contexts"
            )
        return self

    def log_likelihood(self, ids: Ids) -> NDArray[np.float64]:
        """Return log p(x | prompt of c), shape (N, C), float64, nats; an empty text has zero under every class."""
        options = {"bf16": self.bf16, "progress": self.progress}
        return np.stack([log_likelihood(self.model, ids, context=part, **options) for part in self.contexts], axis=1)


def prompt_contexts(
    label_names: Sequence[str], tokenizer: Any, start_id: int, *, template: str = PROMPT
) -> list[list[int]]:
    """Return the start token and the prompt's tokens of each class.

    Parameters
    ----------
    label_names : sequence of C str
        Dots, hyphens and underscores in them become spaces: ``comp.graphics`` is no English.
    tokenizer : PreTrainedTokenizerBase
    start_id : int
    template : str
        With ``{label}`` in it.

    Returns
    -------
    list of C lists of int
    """
    words = str.maketrans(dict.fromkeys("._-", " "))
    options = {"add_special_tokens": False, "split_special_tokens": True}
    prompts = [template.replace("{label}", str(name).translate(words)) for name in label_names]
    return [[start_id, *tokenizer(prompt, **options)["input_ids"]] for prompt in prompts]
