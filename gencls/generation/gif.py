"""Frames to a GIF that plays once through and then again, its last frame longer."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

#: How much longer the result stays than the steps on the way to it.
LAST_FRAME_FACTOR = 4


def to_gif(frames: Sequence[Image.Image], *, ms_per_frame: int = 800) -> bytes:
    """Return frames as the bytes of a GIF file.

    Parameters
    ----------
    frames : sequence of Image
        All of one size.
    ms_per_frame : int
        Milliseconds of a frame; GIF counts in hundredths of a second.
    """
    palette = _shared_palette(frames)
    first, *rest = [_indexed(frame, palette) for frame in frames]
    durations = [ms_per_frame] * (len(frames) - 1) + [LAST_FRAME_FACTOR * ms_per_frame]
    buffer = io.BytesIO()
    first.save(buffer, "GIF", save_all=True, append_images=rest, duration=durations, loop=0, optimize=False)
    return buffer.getvalue()


def _shared_palette(frames: Sequence[Image.Image]) -> NDArray[np.int64]:
    """The 256 most frequent colours (P, 3): one palette for all frames, so that the page does not flicker."""
    colours, counts = np.unique(np.concatenate([_packed(frame) for frame in frames]), return_counts=True)
    return _unpacked(colours[np.argsort(-counts, kind="stable")[:256]])


def _indexed(frame: Image.Image, palette: NDArray[np.int64]) -> Image.Image:
    """The frame in the palette's nearest colours: areas keep theirs, only soft edges of letters are rounded.

    Pillow's own mapping to a palette is coarse: it takes white for a light grey.
    """
    colours, places = np.unique(_packed(frame), return_inverse=True)
    distance = ((_unpacked(colours)[:, None] - palette) ** 2).sum(axis=2)
    nearest = distance.argmin(axis=1).astype(np.uint8)
    picture = Image.fromarray(nearest[places].reshape(frame.height, frame.width), "P")
    picture.putpalette(palette.astype(np.uint8).tobytes())
    return picture


def _packed(frame: Image.Image) -> NDArray[np.int64]:
    """Each pixel's colour as one number, shape (pixels,), int64."""
    return np.asarray(frame.convert("RGB"), dtype=np.int64).reshape(-1, 3) @ np.array([65536, 256, 1])


def _unpacked(colours: NDArray[np.int64]) -> NDArray[np.int64]:
    """Red, green and blue of numbers (n,), shape (n, 3), int64."""
    return np.stack([colours >> 16, (colours >> 8) & 255, colours & 255], axis=1)
