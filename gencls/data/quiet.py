"""Transformers without its words on the terminal."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator
from pathlib import Path

from transformers import logging as transformers_logging


@contextlib.contextmanager
def quiet_transformers(place: str | None = None) -> Iterator[None]:
    """Keep transformers' hints and bars off the terminal: the library never prints.

    Parameters
    ----------
    place : str, optional
        What is read. The bars stay where it is a hub's name and no folder: its files may take minutes to come.
    """
    verbosity, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    try:
        with contextlib.ExitStack() as hidden:
            if place is None or Path(place).is_dir():
                _show_bars(False)
                hidden.enter_context(contextlib.redirect_stderr(io.StringIO()))  # GGUF's bar obeys neither of them
            yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        _show_bars(bars)


def _show_bars(are_shown: bool) -> None:
    with warnings.catch_warnings():  # HF_HUB_DISABLE_PROGRESS_BARS has the last word on the hub's own bars, and says so
        warnings.simplefilter("ignore")
        if are_shown:
            transformers_logging.enable_progress_bar()
        else:
            transformers_logging.disable_progress_bar()
