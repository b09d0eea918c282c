"""What visible neighbours add to the logits of a hidden token: tables of pairs and of triples.

A hidden token completes a pair with the visible token on its left or right, and a triple with two that are visible: two
on the left, two on the right, or one on each side. What stands around it are its contexts: the token on the left, that
on the right, and two tokens with where they stand. The entries of a context are the tokens that complete something in
the tables, with their deviations (`gencls.diffusion.pairs`, `gencls.diffusion.triples`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gencls.diffusion.tiles import TileEntries, TileIndex

#: Columns of a tensor of neighbours.
SECOND_LEFT, LEFT, RIGHT, SECOND_RIGHT = range(4)
#: The two neighbours that a hidden token completes a triple with.
_SEEN = ((SECOND_LEFT, LEFT), (LEFT, RIGHT), (RIGHT, SECOND_RIGHT))


@dataclass(frozen=True)
class _ContextIndex:
    """The entries by context: left tokens, right tokens, and, if there are triples, both seen ones in each place.

    Attributes
    ----------
    starts : Tensor of shape (n_contexts + 1,), int64
        First entry of each context.
    columns, places : Tensor of shape (E,), int64
        Token that an entry adds to, ascending in a context, and where its deviation stands in the tables.
    seen : tuple of Tensor, int64
        For each place in a triple the known ``first * V + second`` of the tokens seen, ascending.
    """

    starts: Tensor
    columns: Tensor
    places: Tensor
    seen: tuple[Tensor, ...]


class NeighbourBias(nn.Module):
    """The deviations of pairs and triples as sparse tables that add to logits.

    Parameters
    ----------
    n_classes, vocab_size : int
        C and V. The tables are empty until `set_table`.
    """

    keys: Tensor
    values: Tensor
    triple_keys: Tensor
    triple_values: Tensor

    def __init__(self, n_classes: int, vocab_size: int) -> None:
        super().__init__()
        self.n_classes = n_classes
        self.vocab_size = vocab_size
        for name in ("", "triple_"):
            self.register_buffer(f"{name}keys", torch.zeros(0, dtype=torch.int64))
            self.register_buffer(f"{name}values", torch.zeros(n_classes, 0))
        self.training_values: Tensor | None = None
        self._index: _ContextIndex | None = None
        self._tiles: TileIndex | None = None
        self._joined: Tensor | None = None

    def set_table(
        self, keys: Tensor, values: Tensor, triple_keys: Tensor | None = None, triple_values: Tensor | None = None
    ) -> None:
        """Set the tables.

        Parameters
        ----------
        keys : Tensor of shape (P,), int64
            ``left * V + right`` of the pairs, ascending.
        values : Tensor of shape (C, P) or (C + 1, P), nats
            Deviations; those of "no class" in the last row, if there is one.
        triple_keys : Tensor of shape (T,), int64, optional
            ``(first * V + second) * V + third`` of the triples, ascending; none by default.
        triple_values : Tensor of shape (C, T), nats, optional
            As many rows as `values`.
        """
        if triple_keys is None or triple_values is None:
            triple_keys, triple_values = keys.new_zeros(0), values.new_zeros(len(values), 0)
        device = self.keys.device
        self.keys, self.triple_keys = (known.to(device).contiguous() for known in (keys, triple_keys))
        self.values, self.triple_values = (known.float().to(device).contiguous() for known in (values, triple_values))
        self._index = self._tiles = self._joined = None

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *args: object) -> None:
        # how many there are is a fact of the data: take the shapes from the saved tables; older ones have no triples
        if prefix + "keys" in state_dict and prefix + "values" in state_dict:
            keys, values = state_dict[prefix + "keys"], state_dict[prefix + "values"]
            triple_keys = state_dict.setdefault(prefix + "triple_keys", keys.new_zeros(0))
            triple_values = state_dict.setdefault(prefix + "triple_values", values.new_zeros(len(values), 0))
            self.set_table(keys, values, triple_keys, triple_values)
        super()._load_from_state_dict(state_dict, prefix, *args)  # type: ignore[arg-type]

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what is derived from the tables, and larger than they are."""
        return {**self.__dict__, "_index": None, "_tiles": None, "_joined": None}

    def entries(self, neighbours: Tensor, class_ids: Tensor, fold_ids: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Return the non-zero additions to logits.

        Parameters
        ----------
        neighbours : Tensor of shape (n, 4), int64
            Visible tokens around each scored position: two on the left, two on the right, in the order of the text; -1
            where there is none.
        class_ids : Tensor of shape (n,), int64
            C for "no class", which adds nothing unless the table has a row for it.
        fold_ids : Tensor of shape (n,), int64, optional
            Use the cross-fitted table of a fold.

        Returns
        -------
        rows, columns : Tensor of shape (E,), int64
        values : Tensor of shape (E,), nats
        """
        index = self._indices()
        known = class_ids < len(self.values)
        contexts = torch.where(known, self._contexts(neighbours), -1)
        which, cells = _expand(index.starts, contexts.flatten())
        rows, columns, places = which % max(len(neighbours), 1), index.columns[cells], index.places[cells]
        if fold_ids is not None and self.training_values is not None:
            return rows, columns, self.training_values[fold_ids[rows], class_ids[rows], places]
        return rows, columns, self._all_values()[class_ids[rows], places]

    def lookup(self, neighbours: Tensor, tokens: Tensor, class_id: int) -> Tensor:
        """Return what given tokens (n,) complete with their neighbours (n, 4), summed, (n,), nats."""
        size = self.vocab_size
        total = self.values.new_zeros(len(tokens))
        if class_id >= len(self.values):
            return total
        second_left, left, right, second_right = neighbours.unbind(dim=1)
        for first, second in ((left, tokens), (tokens, right)):
            total += _find(self.keys, self.values[class_id], first * size + second, (first >= 0) & (second >= 0))
        if len(self.triple_keys):
            for triple in ((second_left, left, tokens), (left, tokens, right), (tokens, right, second_right)):
                first, second, third = triple
                is_seen = (first >= 0) & (second >= 0) & (third >= 0)
                wanted = (first * size + second) * size + third
                total += _find(self.triple_keys, self.triple_values[class_id], wanted, is_seen)
        return total

    def by_tile(self, neighbours: Tensor, gates: Tensor, width: int) -> TileEntries:
        """Return the additions of all neighbours to the logits of n positions, by tiles of `width` tokens.

        Parameters
        ----------
        neighbours : Tensor of shape (n, 4), int64
            As in `entries`.
        gates : Tensor of shape (n,), float32
            What the additions of each position are multiplied with.
        width : int
        """
        index = self._tile_index(width)
        contexts = self._contexts(neighbours)
        ids = contexts.flatten()
        n, n_tiles, device = len(neighbours), len(index.starts) - 1, ids.device
        chosen = index.starts.index_select(1, ids.clamp_min(0))
        sizes = torch.where(ids >= 0, chosen.diff(dim=0), 0).flatten()
        # a group is the entries of one tile and context: a run of the table
        group = torch.repeat_interleave(sizes)
        before = torch.cumsum(sizes, dim=0) - sizes
        shift = chosen[:-1].flatten() - before
        sources = shift.index_select(0, group).add_(torch.arange(len(group), device=device))
        first_token = torch.arange(n_tiles, device=device)[:, None] * width
        widths = (self.vocab_size - first_token).clamp_max(width)
        first_cell = (torch.arange(n, device=device).repeat(len(contexts)) * widths - first_token).flatten()
        cells = first_cell.index_select(0, group).add_(index.columns.index_select(0, sources))
        gates = gates.repeat(len(contexts) * n_tiles).index_select(0, group)
        bounds = [0, *torch.cumsum(sizes.view(n_tiles, -1).sum(dim=1), dim=0).tolist()]
        return TileEntries(index.values, sources, gates, cells, bounds)

    def prepare(self, width: int) -> None:
        """Sort the tables for `by_tile`, for use by several threads."""
        self._tile_index(width)

    def _all_values(self) -> Tensor:
        """The deviations of pairs, then of triples, (C, P + T)."""
        if not len(self.triple_keys):
            return self.values
        if self._joined is None or self._joined.device != self.values.device:
            with torch.inference_mode(False):  # kept, and used in training too
                self._joined = torch.cat([self.values, self.triple_values], dim=1)
        return self._joined

    def _contexts(self, neighbours: Tensor) -> Tensor:
        """Return the contexts of n positions, (K, n), -1 for those with no entry; K is 2, with triples 5."""
        left, right = neighbours[:, LEFT], neighbours[:, RIGHT]
        contexts = [left, torch.where(right >= 0, right + self.vocab_size, -1)]
        n_before = 2 * self.vocab_size
        for seen, (one, other) in zip(self._indices().seen, _SEEN, strict=False):
            first, second = neighbours[:, one], neighbours[:, other]
            wanted = first * self.vocab_size + second
            place = torch.searchsorted(seen, wanted).clamp_max(len(seen) - 1)
            is_known = (seen[place] == wanted) & (first >= 0) & (second >= 0)
            contexts.append(torch.where(is_known, place + n_before, -1))
            n_before += len(seen)
        return torch.stack(contexts)

    def _indices(self) -> _ContextIndex:
        if self._index is None or self._index.starts.device != self.keys.device:
            self._index = self._made_index()
        return self._index

    def _made_index(self) -> _ContextIndex:
        size, device = self.vocab_size, self.keys.device
        left, right = self.keys // size, self.keys % size
        tokens = torch.arange(size, device=device)
        # the context and the token that completes it, of every entry of each kind of context
        kinds = [(left, right, tokens, 0), (right, left, tokens, 0)]
        if len(self.triple_keys):
            both, third = self.triple_keys // size, self.triple_keys % size
            first, second = both // size, both % size
            for seen, hidden in ((both, third), (first * size + third, second), (second * size + third, first)):
                kinds.append((seen, hidden, seen.unique(), len(self.keys)))
        starts, columns, places, n_before = [], [], [], 0
        for context, token, known, shift in kinds:
            order = _sorted_by(context, token)
            starts.append(torch.searchsorted(context[order], known) + n_before)
            columns.append(token[order])
            places.append(order + shift)
            n_before += len(order)
        end = torch.full((1,), n_before, device=device)
        seen_ones = tuple(known for _, _, known, _ in kinds[2:])
        return _ContextIndex(torch.cat([*starts, end]), torch.cat(columns), torch.cat(places), seen_ones)

    def _tile_index(self, width: int) -> TileIndex:
        known = self._tiles
        if known is None or known.width != width or known.starts.device != self.keys.device:
            index, size, device = self._indices(), self.vocab_size, self.keys.device
            n_contexts = len(index.starts) - 1
            contexts = torch.repeat_interleave(index.starts.diff())
            edges = torch.arange(-(-size // width) + 1, device=device).mul(width).clamp_max(size)
            wanted = torch.arange(n_contexts, device=device) * size + edges[:, None]
            starts = torch.searchsorted(contexts * size + index.columns, wanted)
            known = TileIndex(width, starts, index.columns, self._all_values()[:, index.places])
            self._tiles = known
        return known


def _sorted_by(first: Tensor, second: Tensor) -> Tensor:
    """Return the order in which pairs of numbers ascend."""
    by_second = torch.argsort(second, stable=True)
    return by_second[torch.argsort(first[by_second], stable=True)]


def _find(keys: Tensor, values: Tensor, wanted: Tensor, is_asked: Tensor) -> Tensor:
    """Return the values of the keys that are wanted, zero for those that are not there or not asked for, (n,)."""
    if not len(keys):
        return values.new_zeros(len(wanted))
    place = torch.searchsorted(keys, wanted).clamp_max(len(keys) - 1)
    return torch.where((keys[place] == wanted) & is_asked, values[place], 0.0)


def _expand(starts: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
    """Rows and table cells of all entries of each id (-1: none)."""
    safe = ids.clamp_min(0)
    first = starts[safe]
    sizes = torch.where(ids >= 0, starts[safe + 1] - first, 0)
    rows = torch.repeat_interleave(torch.arange(len(ids), device=ids.device), sizes)
    before = torch.cumsum(sizes, dim=0) - sizes
    cells = torch.arange(len(rows), device=ids.device) - before[rows] + first[rows]
    return rows, cells
