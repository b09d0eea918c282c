"""The options of generation."""

from __future__ import annotations

import re
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Literal, get_args

from gencls.data.errors import check_choice, three_parts
from gencls.diffusion.schedule import ScheduleName
from gencls.likelihood.precision import Precision

OrderName = Literal["random", "confidence", "margin", "entropy", "left_to_right", "blocks"]
#: Orders that know the places of a step before they see what the model says of them.
EARLY_ORDERS = ("random", "left_to_right")


@dataclass(frozen=True)
class GenerationConfig:
    """How masks become text.

    Parameters
    ----------
    length : int
        New tokens; infilling takes the number of holes instead.
    n_steps : int, optional
        Steps from all hidden to none; one token a step if not given.
    schedule : {"linear", "cosine", "exponential"}
        How many tokens each step reveals; see `gencls.diffusion.schedule`.
    order : {"random", "confidence", "margin", "entropy", "left_to_right", "blocks"}
        Which tokens a step reveals; see `gencls.generation.orders`.
    block_size : int
        Tokens of a block (order ``blocks``).
    temperature : float
        Of the token choice; 0 takes the likeliest token.
    top_k : int, optional
        Only the k likeliest tokens are drawn from.
    top_p : float, optional
        Only the likeliest tokens that together have this probability, the one that crosses it included (nucleus).
    repetition_penalty : float
        Log-probabilities of tokens that the text has already are multiplied by it; 1 is none.
    no_repeat_ngram : int
        No run of this many tokens stands twice in the text; 0 is no such rule.
    remask : float
        Share of the revealed tokens that every step but the last hides again, unsure ones first.
    threshold : float, optional
        Every step reveals all tokens that are at least this sure, and at least one; there is no number of steps then.
    label : str, optional
        Class whose text is wanted; the class-free model if not given.
    guidance : float
        Weight of the class: 0 is the class-free model, 1 the class model, more exaggerates the class.
    require, forbid : tuple of str
        Words or phrases that the text must have, and must not have.
    regex : str, optional
        Regular expression that is found in the text, given parts included.
    max_tries : int
        Texts drawn until the regular expression is met.
    precision : {"auto", "float32", "bfloat16", "float16"}
        Of the network.

    Raises
    ------
    ValueError
        On an option out of its range, or options that exclude each other.
    """

    length: int = 64
    n_steps: int | None = None
    schedule: ScheduleName = "linear"
    order: OrderName = "confidence"
    block_size: int = 16
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    repetition_penalty: float = 1.0
    no_repeat_ngram: int = 0
    remask: float = 0.0
    threshold: float | None = None
    label: str | None = None
    guidance: float = 1.0
    require: tuple[str, ...] = ()
    forbid: tuple[str, ...] = ()
    regex: str | None = None
    max_tries: int = 8
    precision: Precision = "auto"

    def __post_init__(self) -> None:
        for name, choices in (("schedule", ScheduleName), ("order", OrderName), ("precision", Precision)):
            check_choice(name, getattr(self, name), get_args(choices))
        for name, least in (("length", 1), ("n_steps", 1), ("block_size", 1), ("top_k", 1), ("no_repeat_ngram", 0)):
            _check_integer(name, getattr(self, name), least)
        _check_integer("max_tries", self.max_tries, 1)
        self._check_numbers()
        self._check_words()
        self._check_together()

    def _check_numbers(self) -> None:
        _check_number("temperature", self.temperature, 0, float("inf"))
        _check_number("top_p", self.top_p, 0, 1, above=True)
        _check_number("repetition_penalty", self.repetition_penalty, 0, float("inf"), above=True)
        _check_number("threshold", self.threshold, 0, 1)
        _check_number("guidance", self.guidance, 0, float("inf"))
        _check_number("remask", self.remask, 0, 1)
        if self.remask == 1:
            raise ValueError(three_parts("0 <= remask < 1", "1", "Hide a smaller share again, such as 0.1."))

    def _check_words(self) -> None:
        for name in ("require", "forbid"):
            words: object = getattr(self, name)  # what a caller gave may be anything
            if not isinstance(words, tuple) or not all(isinstance(word, str) and word.strip() for word in words):
                raise ValueError(three_parts(f"a tuple of words for {name}", repr(words), "Give ('word',)."))
        try:
            re.compile(self.regex or "")
        except re.error as error:
            got = f"{self.regex!r}: {error}"
            raise ValueError(three_parts("a regular expression", got, "Repair it, or escape its signs.")) from error

    def _check_together(self) -> None:
        if self.label is None and self.guidance != 1:
            raise ValueError(three_parts("a label beside guidance", "no label", "Name the class that guides."))
        if self.threshold is None:
            return
        refused = {
            "order": self.order in EARLY_ORDERS,
            "n_steps": self.n_steps is not None,
            "remask": self.remask > 0,
        }
        for name, is_refused in refused.items():
            if is_refused:
                got = f"{name}={getattr(self, name)!r} beside threshold={self.threshold}"
                todo = f"Leave out {name}, or the threshold."
                raise ValueError(three_parts("steps that are decided by the threshold alone", got, todo))


def _check_integer(name: str, value: object, least: int) -> None:
    if value is not None and (not isinstance(value, Integral) or int(value) < least):
        raise ValueError(three_parts(f"an integer {name} >= {least}", repr(value), "Change it."))


def _check_number(name: str, value: object, low: float, high: float, *, above: bool = False) -> None:
    if value is None:
        return
    in_range = isinstance(value, Real) and low <= float(value) <= high
    if not in_range or value == float("inf") or (above and value == low):
        bounds = f"{low} {'<' if above else '<='} {name}" + ("" if high == float("inf") else f" <= {high}")
        raise ValueError(three_parts(bounds, repr(value), "Change it."))
