"""For generation: exact tables, a random network over word pieces, and toy trajectories to be drawn."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from gencls.diffusion.backbones import load_backbone
from gencls.diffusion.conditioning import ConditioningConfig
from gencls.diffusion.denoiser import Denoiser
from gencls.diffusion.exact import HIDDEN, Conditionals
from gencls.diffusion.language_model import LanguageModel, class_free_denoiser
from gencls.generation.trajectory import Step, Trajectory


class TableScorer:
    """Exact conditionals as a scorer: one table for each class, the last for the class-free model."""

    def __init__(self, tables: Sequence[Conditionals], vocab_size: int) -> None:
        self.tables = tables
        self.vocab_size = self.mask_id = vocab_size
        self.n_forwards = 0

    def logits(self, token_ids: Any, asked: Any, class_ids: Sequence[int]) -> Iterator[Tensor]:
        self.n_forwards += 1
        contexts = [tuple(row) for row in np.where(token_ids == self.mask_id, HIDDEN, token_ids).tolist()]
        pairs = list(zip(*np.nonzero(asked), strict=True))
        rows = [[self.tables[index][int(place), contexts[row]] for row, place in pairs] for index in class_ids]
        # in two chunks, to see that they are put together in order
        for part in torch.from_numpy(np.array(rows)).log().split(max(1, len(pairs) // 2), dim=1):
            yield part.clone()


@pytest.fixture(scope="session")
def table_scorer() -> Callable[..., TableScorer]:
    return TableScorer


WORDS = ["the", "cat", "dog", "house", "was", "good", "bad", "ran", "un", "ter", "very"]
PIECES = ["##s", "##ly", "##rible", "##known", "##ed", "##!"]
SIGNS = [".", ",", "!", "'"]


def piece_tokenizer() -> Any:
    """Word pieces like BERT's, with unused tokens."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    special = ["[PAD]", "[unused0]", "[unused1]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = [chr(code) for code in range(97, 123)]
    tokens = [*special, *WORDS, *PIECES, *SIGNS, *letters, *(f"##{letter}" for letter in letters)]
    inner = Tokenizer(models.WordPiece({token: index for index, token in enumerate(tokens)}, unk_token="[UNK]"))
    inner.normalizer = normalizers.BertNormalizer(lowercase=True)
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    inner.decoder = decoders.WordPiece()
    names = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
    return PreTrainedTokenizerFast(tokenizer_object=inner, **{f"{name}_token": token for name, token in names.items()})


def _random_weights(denoiser: Denoiser) -> Denoiser:
    """Weights far from zero, so that the tokens depend on each other, and classes that differ."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(1)
        head: Any = denoiser.network.head
        head.weight.normal_(0, 3)
        head.bias.normal_(0, 1)
        denoiser.bias.normal_(0, 0.5)
        denoiser.class_bias[:-1].normal_(0, 1)
    return denoiser.eval()


def _word_piece_backbone() -> Any:
    from transformers import BertConfig, BertForMaskedLM

    from gencls.diffusion.parts import split_model

    tokenizer = piece_tokenizer()
    config = BertConfig(
        vocab_size=len(tokenizer) + 3,  # some ids without a token, as models pad their vocabulary
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = BertForMaskedLM(config)
        return split_model("toy", model, tokenizer, has_head=False, source="random weights")


@pytest.fixture(scope="session")
def model() -> LanguageModel:
    """A random language model over word pieces; 64 positions."""
    backbone = _word_piece_backbone()
    return LanguageModel(_random_weights(class_free_denoiser(backbone)), backbone)


@pytest.fixture(scope="session")
def class_model() -> LanguageModel:
    """The same with two classes, "left" and "right"; its posterior is made up."""
    backbone = _word_piece_backbone()
    denoiser = _random_weights(Denoiser(backbone, 2, ConditioningConfig("conditional", rank=4)))
    posterior = lambda texts: np.tile([0.25, 0.75], (len(texts), 1))  # noqa: E731
    return LanguageModel(denoiser, backbone, ("left", "right"), posterior=posterior)


@pytest.fixture(scope="session")
def tiny_model() -> LanguageModel:
    """A random language model over single characters."""
    backbone = load_backbone("tiny-random")
    return LanguageModel(_random_weights(class_free_denoiser(backbone)), backbone)


#: Pieces as a tokenizer has them: markup, a terminal's escape sequence and a line's end are tokens like any other.
TOY_PIECES = (" the", " film", " was", " un", "believ", "able", ".", " </script><b>", "\x1b[31m", "\n", " [red]", " 诗")


def make_trajectory(
    pieces: Sequence[str] = TOY_PIECES,
    *,
    n_given: int = 2,
    per_step: int = 4,
    remasks: bool = True,
    seconds: float = 0.5,
    label: str = "toy <i>",
) -> Trajectory:
    """Reveal the pieces from the right, some each step; with `remasks`, step 2 hides again one token of step 1."""
    tokens = ["[MASK]", *dict.fromkeys(pieces)]
    final = np.array([tokens.index(piece) for piece in pieces], dtype=np.int64)
    given = np.arange(len(pieces)) < n_given
    ids, confidence, nothing = np.where(given, final, 0), np.full(len(pieces), np.nan), np.zeros(len(pieces), bool)
    steps = [Step(ids, confidence, nothing, nothing, 0, 0.0)]
    todo = np.flatnonzero(~given)[::-1].tolist()
    while todo:
        ids, confidence, revealed, remasked = ids.copy(), confidence.copy(), nothing.copy(), nothing.copy()
        now, todo = todo[:per_step], todo[per_step:]
        ids[now], confidence[now], revealed[now] = final[now], np.linspace(0.0, 1.0, len(now)), True
        if remasks and len(steps) == 2:
            ids[-1], confidence[-1], remasked[-1] = 0, np.nan, True
            todo.append(len(pieces) - 1)
        steps.append(Step(ids, confidence, revealed, remasked, len(steps), seconds * len(steps)))
    return Trajectory(steps, given, 0, tokens, "".join(pieces), label, {"class_proba": {"<b>": 0.25}})


@pytest.fixture(scope="session")
def toy_trajectory() -> Callable[..., Trajectory]:
    """A trajectory of words that come out of the masks from the right."""
    return make_trajectory
