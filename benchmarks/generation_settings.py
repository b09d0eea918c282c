"""The settings of `benchmarks.generation`: one factor at a time around a base."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, get_args

from gencls.diffusion.schedule import ScheduleName
from gencls.generation.config import GenerationConfig, OrderName

STEPS = (1, 2, 4, 8, 16, 32, 64)
#: The orders that are compared at all numbers of steps, on the same prefixes and seeds.
PAIRED_ORDERS: tuple[OrderName, ...] = ("confidence", "random")
TEMPERATURES = (0.0, 0.5, 0.7, 1.0)
TOP_P = (0.8, 0.9, None)
REMASK = (0.0, 0.1)
REPETITION = ((1.0, 0), (1.2, 0), (1.0, 3))
#: Around which one factor is changed at a time.
BASE = GenerationConfig(length=64, n_steps=16, top_p=0.9)


@dataclass(frozen=True)
class Setting:
    """One way of writing.

    Attributes
    ----------
    factor, value : str
        What is changed, and to what.
    config : GenerationConfig
    """

    factor: str
    value: str
    config: GenerationConfig

    @property
    def key(self) -> dict[str, Any]:
        """Return all that decides the samples, but for the model, the prefixes and the seeds."""
        return asdict(self.config)


def settings(base: GenerationConfig = BASE) -> list[Setting]:
    """Return all settings; one that equals the base is in the list of each factor that it belongs to.

    Parameters
    ----------
    base : GenerationConfig
        Steps above its length are left out.
    """
    steps = [count for count in STEPS if count <= base.length]
    changes: list[tuple[str, str, dict[str, Any]]] = [
        (f"steps, {order}", str(count), {"order": order, "n_steps": count})
        for order in PAIRED_ORDERS
        for count in steps
    ]
    changes += [("order", order, {"order": order}) for order in get_args(OrderName)]
    changes += [("schedule", name, {"schedule": name}) for name in get_args(ScheduleName)]
    changes += [("temperature", f"{value:g}", {"temperature": value}) for value in TEMPERATURES]
    changes += [("top_p", "none" if value is None else f"{value:g}", {"top_p": value}) for value in TOP_P]
    changes += [("remask", f"{value:g}", {"remask": value}) for value in REMASK]
    changes += [
        ("repetition", f"penalty {penalty:g}, no {n}-gram twice" if n else f"penalty {penalty:g}", _against(penalty, n))
        for penalty, n in REPETITION
    ]
    return [Setting(factor, value, replace(base, **change)) for factor, value, change in changes]


def _against(penalty: float, n: int) -> dict[str, Any]:
    return {"repetition_penalty": penalty, "no_repeat_ngram": n}
