"""The rival: left to right, one token a pass, with the keys and values of earlier passes kept; recorded as steps.

The choice of a token, the options and the banned tokens are those of the reverse process.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gencls.data.errors import three_parts
from gencls.generation.choice import choose, penalise
from gencls.generation.config import GenerationConfig
from gencls.generation.template import Template, template_of
from gencls.generation.trajectory import Step, Trajectory
from gencls.generation.vocabulary import Vocabulary, vocabulary_of

#: Stands for a token that is not there yet: no token of any tokenizer.
NOT_YET = -1


@dataclass(frozen=True)
class CausalWriter:
    """A causal language model that writes.

    Attributes
    ----------
    model : PreTrainedModel
        In evaluation mode, in the type that it is to run in.
    vocabulary : Vocabulary
    start_id : int
        The token that a text begins after.
    """

    model: Any
    vocabulary: Vocabulary
    start_id: int

    @classmethod
    def of(cls, model: Any, tokenizer: Any, start_id: int) -> CausalWriter:
        """Read the tokenizer once, for many texts."""
        return cls(model, vocabulary_of(tokenizer, model.config.vocab_size), start_id)

    def write(self, config: GenerationConfig, *, prefix: str = "", seed: int = 0, label: str = "") -> Trajectory:
        """Write one text of exactly ``config.length`` new tokens.

        Parameters
        ----------
        config : GenerationConfig
            Its length, temperature, top_k, top_p and repetition_penalty; what only the reverse process has is ignored.
        prefix : str
        seed : int
        label : str

        Returns
        -------
        Trajectory
            One step for each token; a pass sees the token of the pass before.

        Raises
        ------
        ValueError
            If the text would be longer than the model's positions.
        """
        template = template_of([prefix, config.length], self.vocabulary, NOT_YET)
        self._check_length(len(template.token_ids))
        steps = list(self._steps(template, config, np.random.default_rng(seed)))
        text = template.text(steps[-1].token_ids, self.vocabulary)
        extras = {"seed": seed, "n_steps": config.length, "n_forwards": config.length, "seconds": steps[-1].seconds}
        return Trajectory(steps, template.given, NOT_YET, self.vocabulary.reads, text, label, extras)

    @torch.inference_mode()
    def _steps(self, template: Template, config: GenerationConfig, generator: np.random.Generator) -> Iterator[Step]:
        ids, confidence = template.token_ids.copy(), np.full(len(template.token_ids), np.nan)
        nothing = np.zeros(len(ids), dtype=bool)
        yield Step(ids.copy(), confidence.copy(), nothing, nothing, 0, 0.0)
        device = next(self.model.parameters()).device
        banned = torch.from_numpy(self.vocabulary.banned_ids).to(device)
        uniforms = torch.from_numpy(generator.random(config.length)).to(device)
        begun, cache = time.perf_counter(), None
        n_given = int(template.given.sum())
        fresh = np.array([self.start_id, *ids[:n_given]])
        for number, place in enumerate(range(n_given, len(ids))):
            inputs = torch.from_numpy(fresh)[None].to(device)
            output = self.model(input_ids=inputs, past_key_values=cache, use_cache=True)
            cache = output.past_key_values
            logits = self._ready(output.logits[:, -1].float(), banned, ids[:place], config)
            choice = choose(logits, uniforms[number : number + 1], config)
            ids[place], confidence[place] = int(choice.token_ids), float(choice.probability)
            fresh = ids[place : place + 1]
            seconds = time.perf_counter() - begun
            yield Step(ids.copy(), confidence.copy(), np.arange(len(ids)) == place, nothing, number + 1, seconds)

    @staticmethod
    def _ready(logits: Tensor, banned: Tensor, seen: NDArray[np.int64], config: GenerationConfig) -> Tensor:
        logits[:, banned] = -torch.inf
        if config.repetition_penalty != 1:
            penalise(logits, [torch.from_numpy(np.unique(seen)).to(logits.device)], config.repetition_penalty)
        return logits

    def _check_length(self, n_tokens: int) -> None:
        limit = getattr(self.model.config, "max_position_embeddings", None)
        if limit is not None and n_tokens + 1 > limit:
            raise ValueError(
                three_parts(
                    f"at most {limit - 1} tokens, given ones included",
                    str(n_tokens),
                    "Ask for fewer new tokens (length), or give less text.",
                )
            )
