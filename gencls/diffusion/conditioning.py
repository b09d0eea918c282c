"""How a class enters the network: four modes behind one interface.

Every mode maps framed rows and their classes to hidden states and head features at the scored positions. Class index C
means "no class".

* ``independent``: a full copy of encoder and head per class;
* ``adapter``: one encoder, low-rank adapters per class (Hu et al. 2021, arXiv:2106.09685, through peft);
* ``conditional``: one network; a class embedding and a low-rank class map act on the hidden states before the head, so
  that one pass of the encoder serves all classes; the class is dropped for a share of the training texts, which also
  trains p(text);
* ``prompt``: a few soft tokens in front (Lester et al. 2021, arXiv:2104.08691), started from the label's own words.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from gencls.data.errors import three_parts
from gencls.diffusion.adapters import adapted_layers, adapter_name, with_adapters
from gencls.diffusion.padding import encode

Mode = Literal["independent", "adapter", "conditional", "prompt"]


@dataclass(frozen=True)
class ConditioningConfig:
    """Options of the class conditioning.

    Parameters
    ----------
    mode : {"independent", "adapter", "conditional", "prompt"}
    rank : int
        Rank of the adapters and of the class map before the head.
    n_prompt_tokens : int
        Soft tokens per class (mode ``prompt``).
    adapter_layers : int, optional
        Only this many of the last layers carry adapters (mode ``adapter``), all by default. The layers below are then
        the same for all classes, and scoring runs them once.
    """

    mode: Mode = "conditional"
    rank: int = 32
    n_prompt_tokens: int = 8
    adapter_layers: int | None = None

    def __post_init__(self) -> None:
        if self.mode not in get_args(Mode):
            raise ValueError(
                three_parts(f"a mode out of {get_args(Mode)}", repr(self.mode), "Start with 'conditional'.")
            )
        if self.rank < 1 or self.n_prompt_tokens < 1:
            raise ValueError(
                three_parts(
                    "rank >= 1 and n_prompt_tokens >= 1",
                    f"{self.rank} and {self.n_prompt_tokens}",
                    "Raise them.",
                )
            )
        if self.adapter_layers is not None and self.adapter_layers < 1:
            raise ValueError(
                three_parts("adapter_layers >= 1", str(self.adapter_layers), "Raise it, or give None for all layers.")
            )


class Conditioning(nn.Module):
    """Base of the modes: one encoder and one head; subclasses say where the class enters."""

    #: Whether the class parts are few parameters, which take a higher learning rate than a network.
    has_small_class_parts = True
    #: Whether the hidden states are the same for all classes, so that one pass of the encoder serves them all.
    shares_hidden = False

    def __init__(self, encoder: nn.Module, head: nn.Module, n_classes: int) -> None:
        super().__init__()
        self.encoder: Any = encoder
        self.head = head
        self.n_classes = n_classes

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, scored: Tensor, class_ids: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return hidden states and head features at scored positions.

        Parameters
        ----------
        input_ids, attention_mask : Tensor of shape (B, L), int64
        scored : Tensor of shape (B, L), bool
        class_ids : Tensor of shape (B,), int64

        Returns
        -------
        hidden, features : Tensor of shape (n_scored, D)
            In row-major order of `scored`.
        """

        def run(index: int, ids: Tensor, mask: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
            hidden = self.hidden(ids, mask, wanted, index)
            return hidden, self.head_of(index)(hidden)

        return by_class(class_ids, scored, run, input_ids, attention_mask)

    def hidden(self, input_ids: Tensor, attention_mask: Tensor, scored: Tensor, index: int) -> Tensor:
        """Return the hidden states (n_scored, D) of rows that are all of one class."""
        raise NotImplementedError

    def head_of(self, index: int) -> nn.Module:
        """Return the head of a class."""
        return self.head

    def class_parameter_names(self) -> set[str]:
        """Return the names of the parameters that belong to classes."""
        raise NotImplementedError

    def _encode(self, rows: Tensor, attention_mask: Tensor, encoder: Any = None) -> Tensor:
        in_groups = self.training and rows.device.type == "cpu"
        return encode(encoder or self.encoder, rows, attention_mask, in_groups=in_groups)

    def _embed(self, input_ids: Tensor) -> Tensor:
        embedded: Tensor = self.encoder.get_input_embeddings()(input_ids)
        return embedded


def by_class(class_ids: Tensor, scored: Tensor, run: Any, *tensors: Tensor) -> tuple[Tensor, Tensor]:
    """Run each class's rows through its own network and put the results back in order."""
    row_of = scored.nonzero()[:, 0]
    places, hiddens, features = [], [], []
    for index in class_ids.unique().tolist():
        rows = (class_ids == index).nonzero()[:, 0]
        hidden, feature = run(index, *(tensor[rows] for tensor in tensors), scored[rows])
        places.append((class_ids[row_of] == index).nonzero()[:, 0])
        hiddens.append(hidden)
        features.append(feature)
    back = torch.cat(places).argsort()
    return torch.cat(hiddens)[back], torch.cat(features)[back]


class Independent(Conditioning):
    """A full copy per class; index C keeps the class-free original, untouched by the classes' training."""

    def __init__(self, encoder: nn.Module, head: nn.Module, n_classes: int) -> None:
        super().__init__(encoder, head, n_classes)
        self.encoders = nn.ModuleList(copy.deepcopy(encoder) for _ in range(n_classes))
        self.heads = nn.ModuleList(copy.deepcopy(head) for _ in range(n_classes))

    def hidden(self, input_ids: Tensor, attention_mask: Tensor, scored: Tensor, index: int) -> Tensor:
        encoder = self.encoders[index] if index < self.n_classes else self.encoder
        return self._encode(input_ids, attention_mask, encoder)[scored]

    def head_of(self, index: int) -> nn.Module:
        return self.heads[index] if index < self.n_classes else self.head

    has_small_class_parts = False

    def class_parameter_names(self) -> set[str]:
        return {name for name, _ in self.named_parameters() if name.startswith(("encoders.", "heads."))}

    def start_classes(self) -> None:
        """Start every class from the (adapted) class-free network."""
        for encoder, head in zip(self.encoders, self.heads, strict=True):
            encoder.load_state_dict(self.encoder.state_dict())
            head.load_state_dict(self.head.state_dict())


class Adapter(Conditioning):
    """Low-rank adapters of the linear layers of the encoder, one set per class.

    The active adapter is a state of the layers, so only one thread may call it at once. Scoring does not call it: see
    `gencls.diffusion.adapters`.
    """

    def __init__(
        self, encoder: nn.Module, head: nn.Module, n_classes: int, rank: int, n_layers: int | None = None
    ) -> None:
        super().__init__(with_adapters(encoder, n_classes, rank, n_layers), head, n_classes)

    def hidden(self, input_ids: Tensor, attention_mask: Tensor, scored: Tensor, index: int) -> Tensor:
        self._activate(index)
        return self._encode(input_ids, attention_mask)[scored]

    def _activate(self, index: int) -> None:
        for layer in adapted_layers(self.encoder).values():
            # the attribute, not set_adapter: that would freeze the other classes' adapters
            layer._disable_adapters = index >= self.n_classes
            layer._active_adapter = [adapter_name(min(index, self.n_classes - 1))]

    def class_parameter_names(self) -> set[str]:
        return {name for name, _ in self.named_parameters() if "lora_" in name}


class Conditional(Conditioning):
    """Class embedding and low-rank class map before the head: classes share the encoder's forward pass.

    Zero for "no class".
    """

    def __init__(self, encoder: nn.Module, head: nn.Module, n_classes: int, width: int, rank: int) -> None:
        super().__init__(encoder, head, n_classes)
        self.embedding = nn.Parameter(torch.zeros(n_classes, width))
        self.down = nn.Parameter(torch.randn(n_classes, rank, width) / width**0.5)
        self.up = nn.Parameter(torch.zeros(n_classes, width, rank))

    shares_hidden = True

    def hidden(self, input_ids: Tensor, attention_mask: Tensor, scored: Tensor, index: int) -> Tensor:
        return self._encode(input_ids, attention_mask)[scored]

    def class_features(self, hidden: Tensor, class_ids: Tensor) -> Tensor:
        """Return the head's features of hidden states (n, D) for their classes (n,)."""
        chosen = nn.functional.one_hot(class_ids, self.n_classes + 1)[:, :-1].to(hidden.dtype)
        total = self.head(hidden) + chosen @ self.embedding.to(hidden.dtype)
        for index in range(self.n_classes):
            low = nn.functional.linear(hidden, self.down[index]) * chosen[:, index : index + 1]
            total = total + nn.functional.linear(low, self.up[index])
        return total

    def low_rank(self, hidden: Tensor, index: int) -> tuple[Tensor, Tensor]:
        """Return what one class adds to the head's features: before its second map (n, R), and in full (n, D)."""
        if index == self.n_classes:
            return hidden.new_zeros(len(hidden), self.down.shape[1]), torch.zeros_like(hidden)
        low = nn.functional.linear(hidden, self.down[index])
        return low, nn.functional.linear(low, self.up[index]) + self.embedding[index].to(low.dtype)

    def class_map(self, index: int) -> tuple[Tensor, Tensor]:
        """Return the second map (D, R) and the embedding (D,) of a class."""
        if index == self.n_classes:
            return torch.zeros_like(self.up[0]), torch.zeros_like(self.embedding[0])
        return self.up[index], self.embedding[index]

    def class_maps(self) -> tuple[Tensor, Tensor]:
        """Return the tensors behind `class_map`, to see when they change."""
        return self.up, self.embedding

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, scored: Tensor, class_ids: Tensor
    ) -> tuple[Tensor, Tensor]:
        hidden = self.hidden(input_ids, attention_mask, scored, self.n_classes)
        return hidden, self.class_features(hidden, class_ids[scored.nonzero()[:, 0]])

    def class_parameter_names(self) -> set[str]:
        return {"embedding", "down", "up"}


class Prompt(Conditioning):
    """Soft tokens behind the first special token; "no class" has its own."""

    def __init__(self, encoder: nn.Module, head: nn.Module, n_classes: int, width: int, n_tokens: int) -> None:
        super().__init__(encoder, head, n_classes)
        self.tokens = nn.Parameter(torch.randn(n_classes + 1, n_tokens, width) * 0.02)

    @torch.no_grad()
    def start_from_words(self, word_ids: list[list[int]]) -> None:
        """Start the soft tokens of each class from the embeddings of its label's words, repeated."""
        table = self.encoder.get_input_embeddings().weight
        for index, ids in enumerate(word_ids):
            if ids:
                repeated = [ids[place % len(ids)] for place in range(self.tokens.shape[1])]
                self.tokens[index] = table[repeated]
        self.tokens[-1] = self.tokens[:-1].mean(dim=0)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, scored: Tensor, class_ids: Tensor
    ) -> tuple[Tensor, Tensor]:
        n_tokens = self.tokens.shape[1]
        embedded = self._embed(input_ids)
        prompt = self.tokens[class_ids].to(embedded.dtype)
        rows = torch.cat([embedded[:, :1], prompt, embedded[:, 1:]], dim=1)
        seen = torch.cat([attention_mask.new_ones(len(class_ids), n_tokens), attention_mask], dim=1)
        hidden = self._encode(rows, seen)
        text = torch.cat([hidden[:, :1], hidden[:, 1 + n_tokens :]], dim=1)[scored]
        return text, self.head(text)

    def hidden(self, input_ids: Tensor, attention_mask: Tensor, scored: Tensor, index: int) -> Tensor:
        class_ids = torch.full_like(input_ids[:, 0], index)
        return self.forward(input_ids, attention_mask, scored, class_ids)[0]

    def class_parameter_names(self) -> set[str]:
        return {"tokens"}


def make_conditioning(
    config: ConditioningConfig, encoder: nn.Module, head: nn.Module, n_classes: int, width: int
) -> Conditioning:
    """Build the conditioning that a config names."""
    if config.mode == "independent":
        return Independent(encoder, head, n_classes)
    if config.mode == "adapter":
        return Adapter(encoder, head, n_classes, config.rank, config.adapter_layers)
    if config.mode == "conditional":
        return Conditional(encoder, head, n_classes, width, config.rank)
    return Prompt(encoder, head, n_classes, width, config.n_prompt_tokens)
