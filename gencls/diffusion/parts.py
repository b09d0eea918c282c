"""The parts that a masked LM is cut in, and the knife."""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutput

from gencls.data.errors import three_parts


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
