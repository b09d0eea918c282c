"""Rows of one training step, encoded in groups of about equal length.

Texts of a step differ in length, and a row costs what the longest one costs: in its linear layers by the number of
positions, in its attention by their square. Groups spare most of that and change no number but for rounding. Scoring
has batches of fixed shapes instead (`gencls.likelihood`).
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from gencls.data.lengths import run_in_groups


def encode(encoder: Any, rows: Tensor, attention_mask: Tensor, *, in_groups: bool) -> Tensor:
    """Return the last hidden states of rows.

    Parameters
    ----------
    encoder : PreTrainedModel
    rows : Tensor of shape (B, L) or (B, L, D)
        Token ids or embeddings, padded on the right.
    attention_mask : Tensor of shape (B, L), int64
    in_groups : bool
        From the longest row to the shortest, each group as wide as its longest row. Beyond it, where there is padding
        only, the result is zero.

    Returns
    -------
    Tensor of shape (B, L, D)
    """
    name = "input_ids" if rows.dim() == 2 else "inputs_embeds"

    def run(part: Tensor, mask: Tensor) -> Tensor:
        hidden: Tensor = encoder(**{name: part}, attention_mask=mask).last_hidden_state
        return hidden

    def padded(part: Tensor, mask: Tensor) -> Tensor:
        return nn.functional.pad(run(part, mask), (0, 0, 0, rows.shape[1] - part.shape[1]))

    return run_in_groups(padded, rows, attention_mask) if in_groups else run(rows, attention_mask)
