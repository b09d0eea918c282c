"""Position by position: the sampler of the earlier systems, re-implemented.

Kept: one text at a time; for every token that is revealed one pass of the network over the whole row; logits of the
whole vocabulary at all positions, with a full softmax; then one place is taken (at random, or where the model is
surest) and its token is drawn; nothing is kept between the passes.

Kinder than the originals: the network runs in the precision and with the attention of the rival in front of it (ours),
special tokens get no probability, the text has no padding, and the draw is seeded.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from gencls.diffusion.language_model import LanguageModel
from gencls.generation.scorers import scorer_of
from gencls.generation.vocabulary import vocabulary_of
from gencls.likelihood.precision import Precision

IntArray = NDArray[np.int64]


@torch.no_grad()
def write(
    model: LanguageModel,
    token_ids: IntArray,
    *,
    order: str = "random",
    temperature: float = 1.0,
    seed: int = 0,
    precision: Precision = "auto",
) -> IntArray:
    """Fill the hidden tokens of one text.

    Parameters
    ----------
    model : LanguageModel
        Its class-free model writes.
    token_ids : ndarray of shape (L,), int64
        The mask token's id where hidden.
    order : {"random", "confidence"}
    temperature : float
        Above zero.
    seed : int
    precision : {"auto", "float32", "bfloat16", "float16"}

    Returns
    -------
    ndarray of shape (L,), int64
    """
    generator = torch.Generator().manual_seed(seed)
    banned = torch.from_numpy(vocabulary_of(model.tokenizer, model.denoiser.vocab_size).banned_ids)
    text = token_ids.copy()
    with scorer_of(model.denoiser, precision) as scorer:
        while (hidden := np.flatnonzero(text == scorer.mask_id)).size:
            everywhere = np.ones((1, len(text)), dtype=bool)
            chunks = scorer.logits(text[None], everywhere, [model.denoiser.n_classes])
            logits = torch.cat([chunk[0] for chunk in chunks]).cpu()
            logits[:, banned] = -torch.inf
            proba = (logits / temperature).softmax(dim=1)
            place = _place(hidden, proba, order, generator)
            text[place] = int(torch.multinomial(proba[place], 1, generator=generator))
    return text


def _place(hidden: IntArray, proba: torch.Tensor, order: str, generator: torch.Generator) -> int:
    if order == "confidence":
        return int(hidden[int(proba[torch.from_numpy(hidden)].amax(dim=1).argmax())])
    return int(hidden[int(torch.randint(len(hidden), (1,), generator=generator))])
