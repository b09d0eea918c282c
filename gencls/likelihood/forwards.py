"""One forward pass as a record of bytes: which tokens it scored, and their log-probability under every class.

A record is a head, the places as bits and the log-probabilities as raw little-endian numbers; nothing in it is ever
executed (no pickle). Its checksum covers the name under which it is filed, so that a record that was damaged, or that a
damaged index hands out for another name, is seen and not believed.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gencls.data.errors import three_parts

FloatArray = NDArray[np.float64]
#: Checksum; then the first place, the span of the places, the number of classes and the bytes of a number.
CHECKSUM, HEAD = struct.Struct("<I"), struct.Struct("<IIHB")


@dataclass(frozen=True, eq=False)
class StoredForward:
    """Log-probabilities of one forward pass.

    Attributes
    ----------
    places : ndarray of shape (n_scored,), int32
        Positions in the text whose log-probability is known, ascending.
    log_probs : ndarray of shape (C, n_scored), float32 or float64, nats
        log p_c(x_i | visible tokens) of the hidden tokens at these places. Numbers are kept to the last bit, and
        come back as float64.
    """

    places: NDArray[np.int32]
    log_probs: NDArray[np.floating]

    def at(self, places: ArrayLike) -> FloatArray | None:
        """Return the log-probabilities (C, n) in nats at some places, or None when they are not all known."""
        wanted = np.asarray(places, dtype=np.int64)
        index = np.searchsorted(self.places, wanted)
        if (index == len(self.places)).any() or (self.places[index] != wanted).any():
            return None
        return np.asarray(self.log_probs[:, index], dtype=np.float64)

    def union(self, other: StoredForward) -> StoredForward:
        """Return all that either knows; where both know a place, this one's number stays."""
        places, first = np.unique(np.concatenate([self.places, other.places]), return_index=True)
        log_probs = np.concatenate([self.log_probs, other.log_probs], axis=1, dtype=np.float64)
        return StoredForward(places.astype(np.int32), log_probs[:, first])


def forward_key(token_ids: NDArray[np.integer], masked: NDArray[np.bool_], n_context: int = 0) -> bytes:
    """Return the name of a forward: what its input is, and nothing else.

    No seed, estimator, draw or step is in it, because the log-probabilities depend on the mask only. So the masks of
    S = 4 steps, which are among those of S = 16, are found again, and the first draws of 16 are those of 4.

    Parameters
    ----------
    token_ids : ndarray of shape (L,), integer
        The whole text (or chunk of a text), context included.
    masked : ndarray of shape (L,) or (L - n_context,), bool
        True where a token is hidden. Places are counted in this array.
    n_context : int
        Tokens at the front that are always visible.

    Returns
    -------
    bytes
        16 of them.
    """
    # the lengths in front, else [1, 2] with one hidden token and [1] with another could be the same bytes
    digest = hashlib.blake2b(struct.pack("<qqq", len(token_ids), len(masked), n_context), digest_size=16)
    digest.update(np.asarray(token_ids, dtype="<i8").tobytes())
    digest.update(np.packbits(np.asarray(masked, dtype=bool)).tobytes())
    return digest.digest()


def encode(name: bytes, forward: StoredForward) -> bytes:
    """Return a forward as bytes.

    Parameters
    ----------
    name : bytes
        Under which it is filed; part of the checksum.
    forward : StoredForward

    Raises
    ------
    ValueError
        If places and log-probabilities do not belong together.
    """
    places, log_probs = np.asarray(forward.places), np.asarray(forward.log_probs)
    if log_probs.shape[1:] != places.shape or (places[1:] <= places[:-1]).any() or (places < 0).any():
        raise ValueError(
            three_parts(
                "ascending places and log-probabilities of shape (classes, places)",
                f"{len(places)} places and the shape {log_probs.shape}",
                "Sort the places, and give one number for each class and place.",
            )
        )
    # half the bytes where no bit is lost, which is always when the scorer computed in float32 or bfloat16
    with np.errstate(over="ignore"):
        short = log_probs.astype("<f4")
    numbers = short if np.array_equal(short.astype(np.float64), log_probs) else log_probs.astype("<f8")
    first, span = (int(places[0]), int(places[-1] - places[0]) + 1) if len(places) else (0, 0)
    bits = np.zeros(span, dtype=bool)
    bits[places - first] = True
    head = HEAD.pack(first, span, len(numbers), numbers.itemsize)
    content = head + np.packbits(bits).tobytes() + numbers.tobytes()
    return CHECKSUM.pack(zlib.crc32(content, zlib.crc32(name))) + content


def decode(name: bytes, record: object) -> StoredForward | None:
    """Return the forward of a record, or None when the record is damaged or another's."""
    if not isinstance(record, bytes) or len(record) < CHECKSUM.size + HEAD.size:
        return None
    content = memoryview(record)[CHECKSUM.size :]
    if CHECKSUM.unpack_from(record)[0] != zlib.crc32(content, zlib.crc32(name)):
        return None
    first, span, n_classes, itemsize = HEAD.unpack_from(content)
    after = HEAD.size + (span + 7) // 8
    bits = np.unpackbits(np.frombuffer(content[HEAD.size : after], dtype=np.uint8), count=span)
    places = np.flatnonzero(bits).astype(np.int32) + np.int32(first)
    numbers = np.frombuffer(content[after:], dtype=f"<f{itemsize}").astype(np.float64)
    return StoredForward(places, numbers.reshape(n_classes, len(places)))
