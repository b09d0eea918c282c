"""What all figures share: themes, the look of a figure and its axes, legends, percentages, PNG.

Figures are made with the object interface and drawn by Agg: no window, no pyplot state, nothing to close.
Each is drawn for a theme, light or dark, so that a report can show the one that fits the reader's screen. The
colours are those of Okabe and Ito, which stay apart for colour-blind readers; where a colour carries meaning,
a marker or a line style carries it too.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import get_font_names
from matplotlib.ticker import FuncFormatter
from PIL import Image

WIDTH = 7.0  # inches: at 100 dpi a page column of 700 px
DPI = 200
CJK_FONTS = ("Noto Sans CJK SC", "Source Han Sans SC", "PingFang SC", "Microsoft YaHei")
MARKERS = ("o", "s", "^", "D", "v", "P")
LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)))


@dataclass(frozen=True)
class Theme:
    """Colours of one appearance."""

    name: str
    background: str
    ink: str
    muted: str
    grid: str
    palette: tuple[str, ...]


LIGHT = Theme(
    name="light",
    background="#ffffff",
    ink="#1d2430",
    muted="#687386",
    grid="#e4e8ee",
    palette=("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b58900", "#56b4e9"),
)
DARK = Theme(
    name="dark",
    background="#171b22",
    ink="#e4e8ee",
    muted="#97a3b4",
    grid="#2c333e",
    palette=("#56b4e9", "#f08c42", "#2fc79b", "#e39cc4", "#e6c84f", "#8fb8ff"),
)


def to_png(figure: Figure) -> bytes:
    """The figure as a PNG of 1400 px width: sharp at 700 px on dense screens.

    Of 256 colours, which a figure's few and the shades at their edges fit into, at a third of the size.
    """
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    image = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    buffer = io.BytesIO()
    image.quantize(256, dither=Image.Dither.NONE).save(buffer, "png", optimize=True)
    return buffer.getvalue()


def new_figure(
    n_rows: int, n_columns: int, theme: Theme, *, height: float, width: float = WIDTH, **options: Any
) -> tuple[Figure, Any]:
    """A figure and its axes, `width` and `height` in inches, in the theme's style."""
    with mpl.rc_context(style(theme)):
        figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
        ratios = {"height_ratios": options.pop("height_ratios")} if "height_ratios" in options else None
        axes = figure.subplots(n_rows, n_columns, gridspec_kw=ratios, **options)
    for ax in np.ravel(axes):
        sns.despine(ax=ax)
        ax.set_axisbelow(True)
    return figure, axes


def style(theme: Theme) -> Any:
    """seaborn's white grid in the theme's colours."""
    parts = {
        "figure.facecolor": theme.background,
        "axes.facecolor": theme.background,
        "axes.edgecolor": theme.muted,
        "axes.labelcolor": theme.ink,
        "axes.titlecolor": theme.ink,
        "font.family": ["DejaVu Sans", *(name for name in CJK_FONTS if name in get_font_names())],
        "axes.labelsize": 10,
        "grid.color": theme.grid,
        "text.color": theme.ink,
        "xtick.color": theme.muted,
        "ytick.color": theme.muted,
        "xtick.labelcolor": theme.ink,
        "ytick.labelcolor": theme.ink,
        "xtick.labelsize": 9,
        "ytick.labelsize": 9,
    }
    return {**mpl.rcParams, **sns.axes_style("whitegrid"), **parts}


def put_title(ax: Axes, title: str, theme: Theme) -> None:
    """Write the title of one panel."""
    ax.set_title(title, fontsize=11, fontweight="bold", color=theme.ink)


def put_legend(ax: Axes, theme: Theme, **options: Any) -> None:
    """Put a legend without a frame."""
    legend = ax.legend(frameon=False, fontsize=9, labelcolor=theme.ink, title_fontsize=9, **options)
    legend.get_title().set_color(theme.ink)


def theme_colours(theme: Theme, n: int) -> list[str]:
    """The first n colours of the theme, from the start again behind the last."""
    return cycle(theme.palette, n)


def cycle(values: Sequence[Any], n: int) -> list[Any]:
    """The first n of some values, from the start again behind the last."""
    return [values[i % len(values)] for i in range(n)]


def in_percent(*axes: Any) -> None:
    """Label fractions as percentages."""
    for axis in axes:
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.4g} %"))
