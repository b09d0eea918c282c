r"""Classes of few texts stay near what all classes have in common.

Classes train with equal steps, so that a class of one text reads it as often as a class of thousands reads other ones,
and learns it by heart. Its part is then shrunk towards the class-free network by the credibility of Bühlmann (1967,
*Experience rating and credibility*, ASTIN Bulletin 4),

.. math:: \theta_c \leftarrow \frac{n_c}{n_c + k}\, \theta_c ,

for a class of n_c texts, with one k for all. Where :math:`\theta_c` adds to the class-free network (class maps,
adapters), 0 is that network; the counts of the class, which are smoothed on their own, stay as they are.

For small classes among large ones. Where all have few texts, the network has learnt to distrust their counts, and what
the classes learnt makes up for it: without that, decisions get worse.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gencls.data.errors import three_parts
from gencls.diffusion.adapters import adapted_layers, adapter_name
from gencls.diffusion.conditioning import Adapter, Conditional, Conditioning


def credibility(n_texts: Tensor, k: float) -> Tensor:
    """Return the share that each class keeps of its own part.

    Parameters
    ----------
    n_texts : Tensor of shape (C,), int64
        Texts that each class trains on; those without a label count in the class that they were given.
    k : float
        Texts with which a class keeps half of it; 0 keeps all.

    Returns
    -------
    Tensor of shape (C,), float32
    """
    return n_texts / (n_texts + k)


@torch.no_grad()
def shrink_classes(network: Conditioning, shares: Tensor) -> None:
    """Multiply what each class adds to the class-free network, in place: a second call shrinks what is left.

    Parameters
    ----------
    network : Conditional or Adapter
    shares : Tensor of shape (C,), float32
        See `credibility`.

    Raises
    ------
    TypeError
        If a class does not add to a class-free network.
    """
    for index, share in enumerate(shares.tolist()):
        for part in _parts(network, index):
            part.mul_(share)  # counted as a change, unlike one of `part.data`: what was derived is made anew


def _parts(network: Conditioning, index: int) -> list[Tensor]:
    """What is linear in what a class adds, and 0 where it adds nothing."""
    if isinstance(network, Conditional):
        return [network.up[index], network.embedding[index]]
    if isinstance(network, Adapter):
        return [layer.lora_B[adapter_name(index)].weight for layer in adapted_layers(network.encoder).values()]
    todo = "Leave class_shrinkage out."
    raise TypeError(three_parts("classes that add to a class-free network", type(network).__name__, todo))
