"""A denoiser with its tokenizer and the names of its classes: what generates, and what a folder of it holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from gencls.data.errors import nearest, three_parts
from gencls.data.storage import write_json
from gencls.diffusion.backbones import LANGUAGE_MODEL, load_tokenizer
from gencls.diffusion.conditioning import ConditioningConfig
from gencls.diffusion.denoiser import Denoiser
from gencls.diffusion.parts import Backbone
from gencls.diffusion.saved import (
    TOKENIZER,
    WEIGHTS,
    backbone_as_dict,
    backbone_from_dict,
    checked_config,
    load_weights,
    save_parts,
)

FORMAT = "gencls-language-model"
FORMAT_VERSION = 1
CONFIG = LANGUAGE_MODEL
#: Texts -> class probabilities (N, C).
Posterior = Callable[[Sequence[str]], Any]


@dataclass
class LanguageModel:
    """A masked-diffusion language model.

    Attributes
    ----------
    denoiser : Denoiser
        Class index C, the number of its classes, is the class-free model.
    backbone : Backbone
        For its tokenizer and its config.
    classes : tuple of C str
        Empty for a model of texts without classes.
    record : dict
        How it was trained, plain JSON data.
    posterior : callable, optional
        The classifier's own probabilities (N, C) of texts, where the model is one.
    """

    denoiser: Denoiser
    backbone: Backbone
    classes: tuple[str, ...] = ()
    record: dict[str, Any] = field(default_factory=dict)
    posterior: Posterior | None = None

    @property
    def tokenizer(self) -> Any:
        """The tokenizer of the backbone."""
        return self.backbone.tokenizer

    def class_index(self, label: str | None) -> int:
        """Return the index of a class; C, the class-free model, for None.

        Raises
        ------
        ValueError
            If there is no such class.
        """
        if label is None:
            return self.denoiser.n_classes
        if label not in self.classes:
            known = nearest(label, self.classes) if self.classes else "it was trained without classes"
            raise ValueError(three_parts("a class of the model", repr(label), f"Use another one ({known})."))
        return self.classes.index(label)

    def save(self, folder: str | Path) -> Path:
        """Save a model without classes to a folder of safetensors and JSON, the JSON last; returns the folder.

        Raises
        ------
        ValueError
            If it has classes: its classifier saves it.
        """
        if self.classes:
            todo = "Save the classifier: it has the classes' temperature and priors too."
            raise ValueError(three_parts("a model without classes", f"classes {list(self.classes)}", todo))
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        save_parts(self.denoiser, self.tokenizer, folder, config=CONFIG)
        saved = {"backbone": backbone_as_dict(self.backbone), "training": self.record}
        write_json(folder / CONFIG, {"format": FORMAT, "format_version": FORMAT_VERSION, **saved})
        return folder

    @classmethod
    def load(cls, folder: str | Path, *, device: torch.device | None = None) -> LanguageModel:
        """Load from `save`'s folder; nothing is unpickled.

        Raises
        ------
        ValueError
            A damaged file, or a folder written by a newer version.
        FileNotFoundError
            If there is no saved model.
        """
        folder = Path(folder)
        data = _checked_config(folder)
        try:
            backbone = backbone_from_dict(data["backbone"], load_tokenizer(folder / TOKENIZER))
            denoiser, record = class_free_denoiser(backbone), data["training"]
        except (KeyError, TypeError, AttributeError) as error:
            got = f"{type(error).__name__}: {error}"
            raise ValueError(three_parts(f"the entries of {CONFIG}", got, "Restore it, or train again.")) from error
        load_weights(denoiser, folder / WEIGHTS)
        return cls(denoiser.to(device or torch.device("cpu")).eval(), backbone, record=record)


def class_free_denoiser(backbone: Backbone) -> Denoiser:
    """Return a denoiser of texts without classes."""
    return Denoiser(backbone, 0, ConditioningConfig("conditional", rank=1))


def _checked_config(folder: Path) -> dict[str, Any]:
    missing = three_parts(f"a language model with {CONFIG}", f"none in {folder}", "Train one: gencls train-lm.")
    return checked_config(folder / CONFIG, format_name=FORMAT, newest=FORMAT_VERSION, missing=missing)
