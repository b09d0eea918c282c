"""`DiffusionClassifier`: per-class masked diffusion, a bound on log p(text | class), Bayes' rule, one object."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

from gencls.classifier.bayes import resolve_priors
from gencls.classifier.devices import choose_device
from gencls.classifier.held_out import HeldOutMixin
from gencls.classifier.inputs import Part, check_labels, check_n_jobs, check_texts, checked_parts
from gencls.classifier.persistence import load_run, save_run
from gencls.data.errors import three_parts
from gencls.diffusion.backbones import load_backbone
from gencls.likelihood.precision import resolve_precision
from gencls.training.config import TrainConfig
from gencls.training.examples import TokenizedSplit
from gencls.training.per_class import train_denoiser
from gencls.training.unlabelled import UnlabelledTexts

logger = logging.getLogger("gencls.classifier")


class DiffusionClassifier(HeldOutMixin, ClassifierMixin, BaseEstimator):
    """Generative text classifier with one masked-diffusion language model per class.

    Parameters
    ----------
    backbone : str, default "minilm"
        Name or folder of a language model; see `load_backbone`.
    backbone_layers : int, optional
        Keep only the first layers.
    mode : {"conditional", "adapter", "prompt", "independent"}
        How the class enters the network.
    max_length : int, default 128
        Tokens kept of a text, or of a chunk.
    truncation : {"tail", "head"}
    adapt_steps, class_steps : int
        Optimiser steps of the class-free adaptation and of the classes.
    batch_size : int
        Texts per training step.
    hybrid_weight : float, default 0.0
        Weight of the cross-entropy of the Bayes posterior in training; 0 is purely generative.
    n_steps, n_mc_samples : int
        Path steps S and draws K of scoring: 1 + K (S - 1) forward passes per text and class.
    estimator : {"path", "elbo", "complementary_elbo", "importance_path", "bernoulli", "chain"}
    order : {"spaced", "uniform", "left_to_right"}
        Of the path; for both see `gencls.likelihood.estimators.Estimator`.
    target_flip_rate : float, optional
        Draw until at most this share of the decisions would be others with all draws; the rule is fitted on the
        held-out texts, and `n_mc_samples` is not used.
    level_weighting : {"bound", "uniform", "learned"}
        Weights of the masking levels in what decides; other ones than the bound's give evidence, not likelihoods.
    long_texts : {"truncate", "chunks"}
        "chunks": longer texts are scored whole, in overlapping chunks of `max_length` (in training they are cut).
    priors : "empirical", "uniform" or array of shape (C,)
        Class priors; "empirical" are the shares of the training texts.
    validation_fraction, calibration_fraction : float
        Shares of the training texts that are held out when `fit` is not given such texts: the former help to choose
        the smoothing, the latter, or both where neither was given, fit the temperature.
    options : dict, optional
        Any option of `TrainConfig` that is not among these parameters.
    time_budget : float, optional
        Minutes of training.
    run_dir : str or Path, optional
        Folder of checkpoints; `fit` with the same folder resumes. By default a temporary folder.
    device : str, optional
        Torch device; by default CUDA where there is one.
    n_jobs : int, default 1
        Processes of scoring on a CPU.
    progress : bool, default False
    random_state : int, default 0

    Attributes
    ----------
    classes_ : ndarray of shape (C,)
        Labels as they were given, sorted.
    denoiser_ : Denoiser
    tokenizer_ : PreTrainedTokenizerBase
    log_prior_ : ndarray of shape (C,), nats
    temperature_ : LengthTemperature
    stopping_rule_ : StoppingRule or None
        None: as many draws for every text.
    level_weighting_ : LevelWeighting
    network_weight_ : float
    precision_ : str
        Type of the scoring's matrix products; kept, because the temperature is fitted to its scores.
    training_record_ : dict
        Steps, budgets per class, smoothing, seconds.
    transduction_ : ndarray of shape (N,)
        Labels that the `unlabelled` texts of `fit` were given, if there were any; not saved.

    Notes
    -----
    The scores are lower bounds on log p(text | class), in nats; a text without tokens gets the prior. With the option
    `counts_beside` the probabilities rest on them and on the class tables, with `network_weight_` between both.
    """

    def __init__(
        self,
        backbone: str = "minilm",
        *,
        backbone_layers: int | None = None,
        mode: str = "conditional",
        max_length: int = 128,
        truncation: str = "tail",
        adapt_steps: int = 200,
        class_steps: int = 200,
        batch_size: int = 32,
        hybrid_weight: float = 0.0,
        n_steps: int = 2,
        n_mc_samples: int = 2,
        estimator: str = "path",
        order: str = "spaced",
        target_flip_rate: float | None = None,
        level_weighting: str = "bound",
        long_texts: str = "truncate",
        priors: Any = "empirical",
        validation_fraction: float = 0.1,
        calibration_fraction: float = 0.1,
        options: dict[str, Any] | None = None,
        time_budget: float | None = None,
        run_dir: str | Path | None = None,
        device: str | None = None,
        n_jobs: int = 1,
        progress: bool = False,
        random_state: int = 0,
    ) -> None:
        self.backbone = backbone
        self.backbone_layers = backbone_layers
        self.mode = mode
        self.max_length = max_length
        self.truncation = truncation
        self.adapt_steps = adapt_steps
        self.class_steps = class_steps
        self.batch_size = batch_size
        self.hybrid_weight = hybrid_weight
        self.n_steps = n_steps
        self.n_mc_samples = n_mc_samples
        self.estimator = estimator
        self.order = order
        self.target_flip_rate = target_flip_rate
        self.level_weighting = level_weighting
        self.long_texts = long_texts
        self.priors = priors
        self.validation_fraction = validation_fraction
        self.calibration_fraction = calibration_fraction
        self.options = options
        self.time_budget = time_budget
        self.run_dir = run_dir
        self.device = device
        self.n_jobs = n_jobs
        self.progress = progress
        self.random_state = random_state

    @classmethod
    def from_config(cls, config: TrainConfig, **others: Any) -> DiffusionClassifier:
        """Build an unfitted classifier from a `TrainConfig` and other parameters."""
        named = {name for name in cls._get_param_names() if name in config.as_dict()}
        data = config.as_dict()
        rest = {name: value for name, value in data.items() if name not in named and name != "seed"}
        return cls(**{name: data[name] for name in named}, options=rest, random_state=config.seed, **others)

    def train_config(self) -> TrainConfig:
        """Return the training options that the parameters stand for; ValueError on a bad one."""
        fields, options = TrainConfig().as_dict(), self.options or {}
        own = {name: value for name, value in self.get_params(deep=False).items() if name in fields}
        if taken := [name for name in options if name in own or name == "seed"]:  # scoring would not look there
            todo = f"Give {', '.join('random_state' if name == 'seed' else name for name in taken)} as a parameter."
            raise ValueError(three_parts("options that are no parameters of the classifier", str(taken), todo))
        return TrainConfig.from_dict({**own, "seed": self.random_state, **options})

    def fit(
        self,
        X: Sequence[str],
        y: ArrayLike,
        *,
        validation: tuple[Sequence[str], ArrayLike] | None = None,
        calibration: tuple[Sequence[str], ArrayLike] | None = None,
        unlabelled: Sequence[str] | None = None,
    ) -> DiffusionClassifier:
        """Train the class models, then fit the temperature on held-out texts.

        Parameters
        ----------
        X : sequence of N str
        y : array-like of shape (N,)
            Labels of any kind.
        validation, calibration : (texts, labels), optional
            Held-out texts for the smoothing and for the temperature; split off `X` otherwise. Where neither is given,
            those of validation fit the temperature too.
        unlabelled : sequence of str, optional
            More texts of the same kind, without labels. The adaptation reads them too; they get the classes that the
            counts of the labelled texts give them, in the shares of `priors`, and train the classes like those. It
            helps where labels are few.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            Fewer than two classes, one with too few texts to hold some out, texts that are no strings, a bad parameter.
        """
        config = self.train_config()
        check_n_jobs(self.n_jobs)
        texts = check_texts(X)
        more = None if unlabelled is None else check_texts(unlabelled)
        holds_out = validation is None or calibration is None
        classes, labels = check_labels(y, len(texts), fewest=2 if holds_out else 1)
        parts = self._parts((texts, labels), classes, validation, calibration)
        counts = np.bincount(parts["train"][1], minlength=len(classes))
        shares = resolve_priors(self.priors, counts)  # a bad prior is said before the training, not after
        device = choose_device(self.device)
        precision = resolve_precision(config.precision, device)
        # a tokenizer of characters, or a trimmed one, is made of these; prompts start from the words of the labels
        known = [*parts["train"][0], *(more or ()), *(map(str, classes) if config.mode == "prompt" else ())]
        backbone = load_backbone(self.backbone, n_layers=self.backbone_layers, texts=known)
        for name in ("temperature_", "transduction_"):  # what fails from here on leaves no mixture of two fits
            self.__dict__.pop(name, None)
        self.classes_, self.precision_ = classes, precision
        self.backbone_, self.tokenizer_ = backbone, backbone.tokenizer
        splits = {name: TokenizedSplit(self.tokenize(part[0]).ids, part[1]) for name, part in parts.items()}
        with tempfile.TemporaryDirectory() as temporary:
            result = train_denoiser(
                backbone,
                splits["train"],
                splits["validation"],
                [str(name) for name in self.classes_],
                config,
                Path(self.run_dir or temporary),
                unlabelled=None if more is None else UnlabelledTexts(self.tokenize(more).ids, shares),
                device=device,
                time_budget=self.time_budget,
                progress=self.progress,
            )
        self.denoiser_, self.training_record_ = result.denoiser, result.record
        self.class_count_ = counts
        if result.transduction is not None:
            self.transduction_ = self.classes_[result.transduction]
        self.set_priors(self.priors)
        texts, labels = parts["calibration"]
        if len(np.unique(labels)) < 2:
            self._set_uncalibrated()
            logger.warning("the calibration texts are of one class: no temperature fitted, probabilities are too sure")
            return self
        return self._calibrate(self.scoring_ids(texts), labels)

    def _parts(self, train: Part, classes: NDArray[Any], validation: Any, calibration: Any) -> dict[str, Part]:
        # the temperature needs all classes, the smoothing does not: a class of two texts serves the first
        given = {"calibration": calibration, "validation": validation}
        shares = {"calibration": self.calibration_fraction, "validation": self.validation_fraction}
        return checked_parts(train, classes, given, shares, generator=np.random.default_rng([self.random_state, 4]))

    def set_priors(self, priors: Any) -> DiffusionClassifier:
        """Set the class priors ("uniform", "empirical" or probabilities); nothing is retrained. Returns self."""
        if not hasattr(self, "class_count_"):
            check_is_fitted(self, "class_count_")
        self.log_prior_ = np.log(resolve_priors(priors, self.class_count_))
        return self

    def save(self, folder: str | Path) -> Path:
        """Save to a folder of safetensors and JSON; returns the folder."""
        check_is_fitted(self)
        return save_run(self, Path(folder))

    @classmethod
    def load(cls, folder: str | Path, *, device: str | None = None) -> DiffusionClassifier:
        """Load from `save`'s folder; nothing is unpickled.

        Raises
        ------
        ValueError
            A damaged file, or a folder written by a newer version.
        FileNotFoundError
            If there is no saved classifier.
        """
        return load_run(cls, Path(folder), device=choose_device(device))

    save_pretrained = save
    from_pretrained = load

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "temperature_")  # set last: a `fit` that was stopped has left other attributes

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        tags.target_tags.required = True
        return tags
