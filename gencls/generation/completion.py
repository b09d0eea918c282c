"""A text of the user with holes: filled, and for each hole what else could stand there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from gencls.data.errors import three_parts
from gencls.diffusion.language_model import LanguageModel
from gencls.generation.config import GenerationConfig
from gencls.generation.scorers import scorer_of
from gencls.generation.template import parts_of, template_of
from gencls.generation.trajectory import Trajectory
from gencls.generation.vocabulary import vocabulary_of
from gencls.generation.writing import infill


@dataclass(frozen=True)
class Alternative:
    """A token that could stand in a hole, and its probability given all that is visible."""

    token: str
    probability: float


@dataclass(frozen=True)
class Completion:
    """A filled text.

    Attributes
    ----------
    text : str
        With the surest holes filled first, each seeing the ones before.
    alternatives : list of list of Alternative
        Of each hole, from left to right, likeliest first; the other holes are hidden to them.
    """

    text: str
    alternatives: list[list[Alternative]]


def complete(
    model: LanguageModel, text: str, *, n_alternatives: int = 5, n_steps: int | None = None, label: str | None = None
) -> Completion:
    """Fill every ``[MASK]`` of a text, greedily.

    Parameters
    ----------
    model : LanguageModel
    text : str
        Lines may be given as they are where the model was trained on lines joined by a slash.
    n_alternatives : int
        Tokens listed for each hole.
    n_steps : int, optional
        Steps to fill in; one hole a step if not given.
    label : str, optional
        Class whose model fills; the class-free one if not given.

    Returns
    -------
    Completion

    Raises
    ------
    ValueError
        If the text has no hole or is too long, or an option is out of its range.
    """
    if n_alternatives < 1:
        raise ValueError(three_parts("n_alternatives >= 1", str(n_alternatives), "Raise it."))
    given = _as_trained(model, text)
    config = GenerationConfig(temperature=0.0, n_steps=n_steps, label=label)
    trajectory = infill(model, given, config)[0]
    filled = _by_character(model, given, trajectory) if _has_characters(model) else trajectory.text
    return Completion(filled, _alternatives(model, given, n_alternatives, model.class_index(label)))


def _as_trained(model: LanguageModel, text: str) -> str:
    """Join lines by a slash where the model knows a slash and no line break."""
    known = model.tokenizer.get_vocab()
    if "\n" in known or "/" not in known:
        return text
    return "/".join(line.strip() for line in text.splitlines() if line.strip())


def _has_characters(model: LanguageModel) -> bool:
    """Tell whether every token is one character: nothing then stands between two of them."""
    special = set(model.tokenizer.all_special_tokens)
    return all(len(token) == 1 for token in model.tokenizer.get_vocab() if token not in special)


def _by_character(model: LanguageModel, text: str, trajectory: Trajectory) -> str:
    """The text as it was given, with the holes' characters in their places."""
    found = iter(model.tokenizer.convert_ids_to_tokens(trajectory.token_ids[~trajectory.given].tolist()))
    parts = parts_of(text, str(model.tokenizer.mask_token))
    return "".join(part if isinstance(part, str) else next(found) for part in parts)


def _alternatives(model: LanguageModel, text: str, n_best: int, class_index: int) -> list[list[Alternative]]:
    vocabulary = vocabulary_of(model.tokenizer, model.denoiser.vocab_size)
    parts = parts_of(text, str(model.tokenizer.mask_token))
    template = template_of(parts, vocabulary, model.denoiser.frame.mask)
    with scorer_of(model.denoiser) as scorer:
        holes = ~template.given
        logits = torch.cat([part[0] for part in scorer.logits([template.token_ids], [holes], [class_index])])
    logits[:, torch.from_numpy(vocabulary.banned_ids)] = -torch.inf
    top = logits.log_softmax(dim=1).exp().topk(min(n_best, int((~vocabulary.is_banned).sum())))
    return [
        [
            Alternative(vocabulary.text_of(np.array([index])).strip() or " ", probability)
            for index, probability in zip(row, values, strict=True)
        ]
        for row, values in zip(top.indices.tolist(), top.values.tolist(), strict=True)
    ]
