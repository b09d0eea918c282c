"""The parts that a masked LM is cut in, and the knife: encoder, position-wise head, vocabulary projection.

Any `AutoModelForMaskedLM` is taken apart without code of its own: the base model is replaced by a pass-through and the
vocabulary projection by the identity, so what remains maps hidden states to the features before the projection.
A causal language model with its attention opened (`gencls.diffusion.bidirectional`) has nothing there.
A model without a trained masked-LM head (a sentence encoder such as ``minilm``) gets a linear head in front of its
tied word embeddings; `gencls.training.head` fits its starting point.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM
from transformers.modeling_outputs import BaseModelOutput

from gencls.data.errors import three_parts
from gencls.diffusion.bidirectional import is_opened, see_both_sides
from gencls.diffusion.tokens import TokenFrame, frame_of


@dataclass
class Backbone:
    """A masked LM in parts.

    Attributes
    ----------
    name : str
        As the user gave it.
    config : PretrainedConfig
        Of the masked LM; enough, with a state dict, to build the parts again.
    tokenizer : PreTrainedTokenizerBase
    frame : TokenFrame
        Ids of the special tokens around and in place of the text.
    encoder, head : torch.nn.Module
        Base model, and hidden states to features.
    projection : torch.nn.Parameter of shape (V, D)
        Vocabulary projection, tied to the input embeddings where the model ties them.
    bias : ndarray of shape (V,) as tensor
        Output bias of the pretrained head; zeros where there is none.
    has_head : bool
        Whether the head was pretrained.
    source : str
        One line: where the weights came from.
    is_pretrained : bool
        False for random weights, from which no head can be fitted.
    is_adapted : bool
        Whether encoder, head and bias come from a masked-diffusion language model: nothing of them is started anew.
    """

    name: str
    config: Any
    tokenizer: Any
    frame: TokenFrame
    encoder: nn.Module
    head: nn.Module
    projection: nn.Parameter
    bias: Tensor
    has_head: bool
    source: str
    is_pretrained: bool = True
    is_adapted: bool = False

    @property
    def has_trained_output(self) -> bool:
        """Whether head and output bias are kept as they are; other ones start at the unigram."""
        return self.has_head or self.is_adapted

    @property
    def has_trained_embeddings(self) -> bool:
        """Whether the word embeddings know something of the words; those from random weights do not."""
        return self.is_pretrained or self.is_adapted

    @property
    def can_fit_head(self) -> bool:
        """Whether a head may be fitted to the hidden states; the fit leaves one that came with the weights alone."""
        return self.is_pretrained and not self.is_adapted


class PassThrough(nn.Module):
    """Stands where the base model was: its input embeddings are its hidden states."""

    def forward(self, *args: Any, inputs_embeds: Tensor | None = None, **kwargs: Any) -> BaseModelOutput:
        """Return `inputs_embeds` as the last hidden state."""
        return BaseModelOutput(last_hidden_state=cast(Any, inputs_embeds))


class MaskedLMHead(nn.Module):
    """The part of a masked LM between hidden states (n, D) and the features before the vocabulary projection."""

    def __init__(self, shell: nn.Module) -> None:
        super().__init__()
        self.shell = shell

    def forward(self, hidden: Tensor) -> Tensor:
        """Map hidden states (n, D) to features (n, D')."""
        features: Tensor = self.shell(inputs_embeds=hidden[None]).logits[0]
        return features


class LinearHead(nn.Linear):
    """Head of a backbone that brings none; starts at zero, so that the output starts at the unigram."""

    def __init__(self, width: int) -> None:
        super().__init__(width, width)
        nn.init.zeros_(self.weight)
        nn.init.zeros_(self.bias)


def keep_layers(encoder: nn.Module, config: Any, n_layers: int) -> None:
    """Drop all layers of an encoder behind the first ones, and say so in its config."""
    stack = layer_stack(encoder)
    if not 1 <= n_layers <= len(stack):
        raise ValueError(
            three_parts(f"1 <= n_layers <= {len(stack)}", str(n_layers), "Choose a number of layers it has.")
        )
    del stack[n_layers:]
    config.num_hidden_layers = n_layers
    if getattr(config, "layer_types", None):  # ModernBERT's list, one entry a layer
        config.layer_types = config.layer_types[:n_layers]


def layer_stack(encoder: nn.Module) -> nn.ModuleList:
    """Return the layers of an encoder: its longest module list, an empty one if it has none."""
    lists = [module for module in encoder.modules() if isinstance(module, nn.ModuleList)]
    return max(lists, key=len, default=nn.ModuleList())


def without_dropout(network: nn.Module) -> nn.Module:
    """Switch the dropout of a network off for good; returns the network."""
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        for name in ("attention_dropout", "hidden_dropout", "dropout_prob"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)
    return network


def replace_module(root: nn.Module, old: nn.Module, new: nn.Module) -> None:
    """Put another module in the place of one."""
    for module in root.modules():
        for name, child in module.named_children():
            if child is old:
                setattr(module, name, new)
                return


def drop_unused_parameters(head: nn.Module, encoder: nn.Module) -> None:
    """Remove what the split left without a use: the head's own output bias and the encoder's pooler."""
    for module in head.modules():
        bias = module._parameters.get("bias")
        if bias is not None and type(module).__name__.endswith(("PredictionHead", "LMHead", "MLMHead")):
            module._parameters.pop("bias")
    if getattr(encoder, "pooler", None) is not None:
        setattr(encoder, "pooler", None)  # noqa: B010  (a module attribute, for the type checker)


def build_backbone(name: str, config: dict[str, Any], tokenizer: Any, *, has_head: bool, source: str) -> Backbone:
    """Build the parts of a saved backbone with random weights, for a state dict to be loaded into."""
    options = dict(config)
    auto_config = AutoConfig.for_model(options.pop("model_type"), **options)
    kind = AutoModelForCausalLM if is_opened(auto_config) else AutoModelForMaskedLM
    model = kind.from_config(auto_config)
    return split_model(name, model, tokenizer, has_head=has_head, source=source)


def split_model(
    name: str, model: Any, tokenizer: Any, *, has_head: bool, source: str, n_layers: int | None = None
) -> Backbone:
    """Take a masked LM apart.

    Raises
    ------
    ValueError
        If the model has no vocabulary projection or fewer layers than asked for.
    """
    decoder = model.get_output_embeddings()
    if decoder is None:
        raise ValueError(
            three_parts("a masked language model", type(model).__name__, "Use a model with an output projection.")
        )
    encoder = model.base_model
    if n_layers is not None:
        keep_layers(encoder, model.config, n_layers)
    bias = getattr(decoder, "bias", None)
    bias = torch.zeros(decoder.weight.shape[0]) if bias is None or not has_head else bias.detach().clone()
    head = _head_of(model, decoder, has_head=has_head)
    if is_opened(model.config):
        see_both_sides(encoder, tokenizer.mask_token_id)
    drop_unused_parameters(head, encoder)
    return Backbone(
        name=name,
        config=copy.deepcopy(model.config),
        tokenizer=tokenizer,
        frame=frame_of(tokenizer),
        encoder=encoder,
        head=head,
        projection=decoder.weight,
        bias=bias,
        has_head=has_head,
        source=source,
    )


def _head_of(model: Any, decoder: nn.Module, *, has_head: bool) -> nn.Module:
    """Return what is between hidden states and vocabulary; takes encoder and vocabulary out of the model."""
    if is_opened(model.config):
        return nn.Identity()
    replace_module(model, decoder, nn.Identity())
    setattr(model, model.base_model_prefix, PassThrough())
    return MaskedLMHead(model) if has_head else LinearHead(model.config.hidden_size)
