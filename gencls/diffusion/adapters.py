r"""The adapters of many classes in one pass of the encoder, for scoring.

A linear map with a low-rank adapter a class (Hu et al. 2021, arXiv:2106.09685, equation 3) takes the rows :math:`X_c`
of class :math:`c` to

.. math:: Y_c = X_c W^\top + b + (X_c A_c^\top)\, s B_c^\top .

The first product is the same for all classes and nearly all of the work: the rows of the classes stand below each
other and are multiplied at once. The low-rank products are batched, one in the batch for each class. Layers below the
first adapter run once for all classes.

Nothing here is a state of a call, so several threads may use one `GroupedEncoder`. No gradient reaches the adapters
through it.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from gencls.data.errors import three_parts
from gencls.diffusion.parts import layer_stack

#: Classes in one product: bounds the memory of a pass, and more gain nothing on a CPU. A constant, because another
#: number may round differently.
CLASS_GROUP = 4
#: Models (`model_type` of their config) that only call their layers one after the other, with the same arguments. In
#: others something may happen between two layers, and the rows of the classes part at the encoder's input.
STACKED = ("bert", "camembert", "distilbert", "electra", "mpnet", "roberta", "xlm-roberta")


def adapter_name(index: int) -> str:
    """Return the name of a class's adapter."""
    return f"class_{index}"


def with_adapters(encoder: nn.Module, n_classes: int, rank: int, n_layers: int | None = None) -> nn.Module:
    """Put low-rank adapters, one for each class, on the linear maps of an encoder.

    Parameters
    ----------
    encoder : nn.Module
        Changed in place.
    n_classes, rank : int
    n_layers : int, optional
        Only on the last layers; on every linear map, inside the layers or not, if not given.

    Returns
    -------
    nn.Module

    Raises
    ------
    ValueError
        If the encoder has fewer layers, or no linear maps.
    """
    from peft import LoraConfig, inject_adapter_in_model

    names = _linear_names(encoder, n_layers)
    if not names:  # GPT-2's are of a class of their own
        expected, todo = "an encoder of linear maps for mode 'adapter'", "Use another mode or backbone."
        raise ValueError(three_parts(expected, type(encoder).__name__, todo))
    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=names, lora_dropout=0.0)
    with warnings.catch_warnings():
        # several adapters in one model are meant here
        warnings.filterwarnings("ignore", message="Already found a `peft_config` attribute")
        for index in range(n_classes):
            encoder = inject_adapter_in_model(config, encoder, adapter_name=adapter_name(index))
    return encoder


def _linear_names(encoder: nn.Module, n_layers: int | None) -> list[str]:
    parts = {part for layer in _last_layers(encoder, n_layers) for part in layer.modules()}
    return [name for name, module in encoder.named_modules() if isinstance(module, nn.Linear) and module in parts]


def _last_layers(encoder: nn.Module, n_layers: int | None) -> list[nn.Module]:
    if n_layers is None:
        return [encoder]
    stack = layer_stack(encoder)
    if not 1 <= n_layers <= len(stack):
        expected = f"1 <= adapter_layers <= {len(stack)}, the layers of this backbone"
        raise ValueError(three_parts(expected, str(n_layers), "Choose a number of layers it has, or None for all."))
    return list(stack)[-n_layers:]


def adapted_layers(encoder: nn.Module) -> dict[str, Any]:
    """Return the layers of an encoder that carry adapters, by name."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    return {name: module for name, module in encoder.named_modules() if isinstance(module, BaseTunerLayer)}


def without_adapters(encoder: nn.Module) -> nn.Module:
    """Return the class-free encoder; it shares its weights with the given one."""
    return _exchanged(encoder, {layer: layer.get_base_layer() for layer in adapted_layers(encoder).values()})


class GroupedLinear(nn.Module):
    """A linear map that G classes share, and the low-rank map of each.

    Parameters
    ----------
    shared : nn.Linear
        Its parameters are not copied.
    down : Tensor of shape (G, D, R)
    up : Tensor of shape (G, R, D')
        Scaled.
    """

    down: Tensor
    up: Tensor

    def __init__(self, shared: nn.Linear, down: Tensor, up: Tensor) -> None:
        super().__init__()
        self.weight, self.bias = shared.weight, shared.bias
        self.register_buffer("down", down)
        self.register_buffer("up", up)

    def forward(self, rows: Tensor) -> Tensor:
        """Map rows (G * B, ..., D), class after class, to (G * B, ..., D')."""
        shared = functional.linear(rows, self.weight, self.bias)
        low = torch.bmm(rows.reshape(len(self.down), -1, rows.shape[-1]), self.down)
        # in place: a copy of the rows would cost as much again as the product
        shared.view(len(low), -1, shared.shape[-1]).baddbmm_(low, self.up.to(low.dtype))
        return shared


class ClassLayers(nn.Module):
    """Stands where the first adapted layer of an encoder was: all layers from there on, under all classes.

    Parameters
    ----------
    groups : sequence of nn.ModuleList
        The layers with the adapters of a group of classes.
    sizes : sequence of int
        Classes of each group; C in all.
    """

    def __init__(self, groups: Sequence[nn.Module], sizes: Sequence[int]) -> None:
        super().__init__()
        self.groups, self.sizes = nn.ModuleList(groups), list(sizes)

    def forward(self, hidden: Tensor, *args: Any, **kwargs: Any) -> Tensor | tuple[Tensor]:
        """Map hidden states (B, L, D) to (C * B, L, D), class after class; as a tuple where the layers give one."""
        parts = [self._run(*group, hidden, args, kwargs) for group in zip(self.groups, self.sizes, strict=True)]
        states = torch.cat([state for state, _ in parts])
        return (states,) if parts[0][1] else states

    def _run(
        self, layers: Any, size: int, hidden: Tensor, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> tuple[Tensor, bool]:
        """The states of a group, and whether its layers wrap them in a tuple."""
        n_rows, state = len(hidden), _repeated(hidden, len(hidden), size)
        others = [_repeated(value, n_rows, size) for value in args]
        named = {name: _repeated(value, n_rows, size) for name, value in kwargs.items()}
        is_tuple = False
        for layer in layers:
            output = layer(state, *others, **named)
            is_tuple = isinstance(output, tuple)
            state = output[0] if is_tuple else output
        return state, is_tuple


class GroupedEncoder(nn.Module):
    """An encoder under C classes at once; made by `grouped_encoder`.

    Parameters
    ----------
    encoders : sequence of nn.Module
        Each maps rows to those of all its classes, class after class.
    repeats : sequence of int
        How often the rows are put in each of them.
    """

    def __init__(self, encoders: Sequence[nn.Module], repeats: Sequence[int]) -> None:
        super().__init__()
        self.encoders, self.repeats = nn.ModuleList(encoders), list(repeats)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, scored: Tensor) -> Tensor:
        """Return the hidden states (C, n_scored, D) of rows (B, L)."""
        parts = [
            encoder(input_ids=input_ids.repeat(times, 1), attention_mask=attention_mask.repeat(times, 1))
            for encoder, times in zip(self.encoders, self.repeats, strict=True)
        ]
        hidden = torch.cat([part.last_hidden_state for part in parts])
        return hidden.unflatten(0, (-1, len(input_ids)))[:, scored]


def grouped_encoder(encoder: nn.Module, shared: nn.Module, class_ids: Sequence[int]) -> GroupedEncoder:
    """Build the encoder of some classes.

    Parameters
    ----------
    encoder : nn.Module
        With the adapters.
    shared : nn.Module
        The same `without_adapters`, in the type of the products. Its parameters are used, not copied; those of the
        adapters are copied.
    class_ids : sequence of C int
        A class without an adapter is "no class".

    Returns
    -------
    GroupedEncoder
    """
    layers = adapted_layers(encoder)
    groups = [class_ids[start : start + CLASS_GROUP] for start in range(0, len(class_ids), CLASS_GROUP)]
    sizes = [len(group) for group in groups]
    with torch.no_grad():
        changes = [
            {part: _grouped(layers[name], part, group) for name, part in shared.named_modules() if name in layers}
            for group in groups
        ]
    first = _first_layer(shared, layers)
    if first is None:
        return GroupedEncoder([_exchanged(shared, change) for change in changes], sizes).eval()
    stack = layer_stack(shared)
    top = ClassLayers([_exchanged(stack[first:], change) for change in changes], sizes)
    whole = _exchanged(shared, {stack: nn.ModuleList([*stack[:first], top])})
    return GroupedEncoder([whole], [1]).eval()


def _first_layer(shared: nn.Module, layers: Mapping[str, Any]) -> int | None:
    """The first layer with an adapter; None if the rows of the classes must part before the layers."""
    if getattr(getattr(shared, "config", None), "model_type", None) not in STACKED:
        return None
    adapted = {cast(nn.Module, part) for name, part in shared.named_modules() if name in layers}
    places = [place for place, layer in enumerate(layer_stack(shared)) if adapted & set(layer.modules())]
    inside = {part for layer in layer_stack(shared) for part in layer.modules()}
    return places[0] if places and adapted <= inside else None


def _grouped(layer: Any, shared: nn.Module, class_ids: Sequence[int]) -> GroupedLinear:
    """The adapters of some classes in one layer, as tensors of the type of the shared weights."""
    first = adapter_name(0)
    nothing = layer.lora_A[first].weight.new_zeros(1, 1)
    downs, ups = [], []
    for name in map(adapter_name, class_ids):
        down, up = (pair[name].weight if name in pair else None for pair in (layer.lora_A, layer.lora_B))
        downs.append(nothing.expand_as(layer.lora_A[first].weight) if down is None else down)
        ups.append(nothing.expand_as(layer.lora_B[first].weight) if up is None else layer.scaling[name] * up)
    linear = cast(nn.Linear, shared)
    return GroupedLinear(linear, *(torch.stack(side).mT.to(linear.weight.dtype).contiguous() for side in (downs, ups)))


def _exchanged(module: nn.Module, changes: Mapping[nn.Module, nn.Module]) -> nn.Module:
    """A module of the same structure that shares all weights, with some parts exchanged."""
    if module in changes:
        return changes[module]
    twin = copy.copy(module)
    tables = {name: value.copy() for name, value in vars(module).items() if isinstance(value, dict)}
    vars(twin).update(tables)  # of parameters, buffers, hooks: the same entries, but none that is added later
    twin._modules = {
        name: None if part is None else _exchanged(part, changes) for name, part in module._modules.items()
    }
    return twin


def _repeated(value: Any, n_rows: int, times: int) -> Any:
    """Repeat what has a value for each row; anything else is for all rows."""
    if not isinstance(value, Tensor) or value.ndim < 2 or len(value) != n_rows:
        return value
    return value.repeat(times, *[1] * (value.ndim - 1))
