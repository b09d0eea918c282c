"""Generation: quality and speed of iterative unmasking beside autoregressive models, and class guidance.

    python -m benchmarks.generation --size small --classifier runs/imdb-demo

Everything that is done is kept in `--runs` under a digest of what decides it: a killed run goes on where it stopped.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.commands import log_to_stderr
from benchmarks.generation_config import SIZES, Config
from benchmarks.generation_guidance import Referee, guided_shares, write_guided
from benchmarks.generation_material import Beginning, Models, Texts, load_models, load_texts
from benchmarks.generation_report import write_report
from benchmarks.generation_scores import Sample, judge, paired_difference, score
from benchmarks.generation_settings import PAIRED_ORDERS, Setting, settings
from benchmarks.generation_speed import Task, measure_speed
from gencls.baselines.causal import CausalLM, load_causal
from gencls.data.storage import plain, read_json, write_json
from gencls.evaluation.generators import load_language_model
from gencls.generation.config import GenerationConfig
from gencls.generation.trajectory import Trajectory
from gencls.generation.writing import generate
from gencls.likelihood.precision import resolve_precision
from gencls.reporting.records import run_record

logger = logging.getLogger("gencls.benchmarks")
Row = dict[str, Any]
#: Written without a prefix in guidance: there is nothing but the class to go by.
GUIDANCE = (0.0, 1.0, 2.0, 4.0)


@dataclass
class Kept:
    """Results on disk, by what decides them."""

    folder: Path
    shared: dict[str, Any] = field(default_factory=dict)

    def get(self, name: str, key: dict[str, Any], work: Callable[[], Any]) -> Any:
        """Return plain data, made if it is not there."""
        told = json.dumps(plain({**self.shared, **key}), sort_keys=True)
        path = self.folder / f"{name}-{hashlib.sha256(told.encode()).hexdigest()[:16]}.json"
        if not path.exists():
            logger.info("%s", path.stem)
            write_json(path, work())
        return read_json(path)


def measure(config: Config, classifier: Path | None, runs: Path, *, judge_model: CausalLM | None = None) -> Row:
    """Measure everything; returns plain data for the report.

    Parameters
    ----------
    config : Config
    classifier : Path, optional
        Run of per-class models; without one there is no guidance.
    runs : Path
    judge_model : CausalLM, optional
        SmolLM2 if not given.
    """
    generator = load_language_model(classifier) if classifier is not None else None  # a bad folder is said first
    texts = load_texts(
        config.data,
        config.training,
        n_texts=config.n_prefixes,
        n_reference=config.n_reference,
        prefix=config.prefix,
        length=config.length,
        seed=config.seed,
    )
    models = load_models(texts, config.training, judge_model or load_causal("smollm2"), runs)
    shared = {name: getattr(config, name) for name in ("data", "prefix", "length", "seed", "n_prefixes")}
    kept = Kept(runs / "kept", {**shared, "training": config.training.as_dict()})
    scorer = _Scorer(config, texts, models, kept)
    results = {
        "data": {"source": texts.source, "train_texts": len(texts.train)},
        "models": models.facts,
        "human": scorer.human(),
        "others": scorer.others(),
        "settings": [scorer.setting(one) for one in settings(config.base)],
        "speed": _speed(config, texts, models, kept),
    }
    results["orders"] = compare_orders(results["settings"], config.seed)
    results["guidance"] = _guidance(config, texts, generator, classifier, kept) if generator is not None else None
    return results


@dataclass(frozen=True)
class _Scorer:
    """Writes and scores the settings."""

    config: Config
    texts: Texts
    models: Models
    kept: Kept

    def setting(self, one: Setting) -> Row:
        """The scores of one setting of the diffusion model."""
        key = {"config": one.key, "n": self.config.n_per_prefix}

        def write() -> list[Row]:
            found = [self._written(place, one.config) for place in self.texts.test]
            return [asdict(sample) for part in found for sample in part]

        samples = self.kept.get("texts", key, write)
        return {"factor": one.factor, "value": one.value, **self._scored(samples, key)}

    def _written(self, place: Beginning, config: GenerationConfig) -> list[Sample]:
        written = generate(
            self.models.diffusion,
            config,
            prefix=place.prefix,
            seed=self.config.seed,
            n_samples=self.config.n_per_prefix,
        )
        return [as_sample(place.prefix, one, one.steps[-1].seconds / len(written)) for one in written]

    def others(self) -> Row:
        """The scores of the autoregressive models, which sample as the base does."""
        writers = {"causal": (self.models.causal, len(self.texts.test), 2), "judge": (self.models.pretrained, 0, 1)}
        found = {}
        for name, (writer, n_prefixes, n_each) in writers.items():
            places = self.texts.test[: n_prefixes or self.config.n_pretrained]
            key = {"model": name, "config": asdict(self.config.base), "places": len(places), "n": n_each}

            def write(writer: Any = writer, places: Any = places, n_each: int = n_each) -> list[Row]:
                return [asdict(self._autoregressive(writer, place, seed)) for place in places for seed in range(n_each)]

            found[name] = self._scored(self.kept.get("texts", key, write), key)
        return found

    def _autoregressive(self, writer: Any, place: Beginning, seed: int) -> Sample:
        written = writer.write(self.config.base, prefix=place.prefix, seed=self.config.seed + seed)
        return as_sample(place.prefix, written, written.steps[-1].seconds, self.models.diffusion.tokenizer)

    def human(self) -> Row:
        """The scores of what the humans wrote on."""
        return self._scored([asdict(place.as_sample()) for place in self.texts.test], {"model": "human"})

    def _scored(self, rows: Sequence[Row], key: Row) -> Row:
        samples = [Sample(**row) for row in rows]

        def work() -> Row:
            reference = self.kept.get("features", {"n": len(self.texts.reference)}, self._reference)
            judged = judge(self.models.judge, samples)
            return score(
                samples,
                judged,
                np.array(reference),
                self.models.runs,
                n_clusters=self.config.n_clusters,
                seed=self.config.seed,
            )

        scores: Row = self.kept.get("scores", {**key, "clusters": self.config.n_clusters}, work)
        return {**scores, "samples": list(rows)}

    def _reference(self) -> Any:
        return judge(self.models.judge, [place.as_sample() for place in self.texts.reference]).features.tolist()


def as_sample(prefix: str, written: Trajectory, seconds: float, tokenizer: Any = None) -> Sample:
    """Return a trajectory as a sample; `tokenizer`: that of the training texts, where the writer has another one."""
    first, last = written.steps[0], written.steps[-1]
    kept = np.array_equal(first.token_ids[written.given], last.token_ids[written.given])
    text = written.text.lower() if prefix == prefix.lower() else written.text  # the judge sees no case of any model
    continuation = text[len(prefix) :]
    ids = last.token_ids[~written.given]
    if tokenizer is not None:
        ids = np.array(tokenizer(continuation, add_special_tokens=False)["input_ids"], dtype=np.int64)
    return Sample(prefix, continuation, ids.tolist(), bool(kept and text.startswith(prefix)), float(seconds))


def compare_orders(rows: Sequence[Row], seed: int) -> list[Row]:
    """Compare confidence with random order at equal steps, on the same prefixes and seeds."""
    ours, other = ({row["value"]: row for row in rows if row["factor"] == f"steps, {name}"} for name in PAIRED_ORDERS)
    name = "nats_per_token_of_texts"
    return [
        {"steps": int(steps), **paired_difference(ours[steps][name], other[steps][name], seed=seed)}
        for steps in ours
        if steps in other
    ]


def _speed(config: Config, texts: Texts, models: Models, kept: Kept) -> list[Row]:
    task = Task(texts.test[0].prefix, config.length, n_repeats=config.n_repeats)
    found: list[Row] = kept.get(
        "speed", asdict(task), lambda: measure_speed(models.diffusion, task, GenerationConfig(length=config.length))
    )
    return found


def _guidance(config: Config, texts: Texts, model: Any, run: Path, kept: Kept) -> Row:
    """Shares for each weight; the referee is trained once for all."""
    base = config.base
    key = {"run": run.name, "record": read_json(run / "run.json").get("time"), "n": config.n_guided}

    def write(weight: float) -> list[Row]:
        return write_guided(model, base, weight, n_samples=config.n_guided, seed=config.seed)

    written = {
        weight: kept.get(
            "guided", {**key, "config": asdict(base), "weight": weight}, lambda weight=weight: write(weight)
        )
        for weight in GUIDANCE
    }

    def refereed() -> Row:
        steps, size = config.n_referee_steps, 16
        bf16 = resolve_precision("auto", model.denoiser.bias.device) == "bfloat16"
        options = {"n_steps": steps, "batch_size": size, "seed": config.seed + 1, "bf16": bf16}
        referee = Referee(texts, config.training.backbone, length=config.length, **options)
        predicted = {
            str(weight): [texts.labels[index] for index in referee.predict([row["text"] for row in rows])]
            for weight, rows in written.items()
        }
        return {"human": referee.accuracy(texts.held_out, config.n_referee_texts, config.seed), "predicted": predicted}

    found = kept.get("referee", {**key, "steps": config.n_referee_steps, "tried": config.n_referee_texts}, refereed)
    half = config.seed + config.n_guided // 2
    shares = {weight: guided_shares(rows, found["predicted"][str(weight)], half) for weight, rows in written.items()}
    best = max(shares, key=lambda weight: shares[weight]["chosen_by"]["value"])
    samples = {str(weight): rows for weight, rows in written.items()}
    return {
        "human": found["human"],
        "shares": {str(w): row for w, row in shares.items()},
        "best": str(best),
        "samples": samples,
    }


def main(
    config: Config,
    *,
    classifier: Path | None,
    runs: Path,
    output: Path = Path("reports/generation"),
    judge_model: CausalLM | None = None,
    command: str = "",
) -> Path:
    """Measure and write the report; returns its page."""
    results = measure(config, classifier, runs, judge_model=judge_model)
    record = run_record(command, plain(asdict(config)), config.seed)
    return write_report(results, record, output)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.generation", description="generation, side by side")
    parser.add_argument("--size", choices=tuple(SIZES), default="small")
    parser.add_argument("--classifier", type=Path, metavar="RUN", help="a run of train-per-class, for class guidance")
    parser.add_argument("--limit", type=int, metavar="N", help="at most N of everything that is written")
    parser.add_argument("--runs", type=Path, help="folder of models and texts (default: runs/generation-SIZE)")
    parser.add_argument("--output", type=Path, default=Path("reports/generation"))
    arguments = parser.parse_args()
    log_to_stderr("gencls")
    page = main(
        SIZES[arguments.size].limited(arguments.limit),
        classifier=arguments.classifier,
        runs=arguments.runs or Path("runs") / f"generation-{arguments.size}",
        output=arguments.output,
        command=f"python -m benchmarks.generation --size {arguments.size}"
        + (f" --classifier {arguments.classifier}" if arguments.classifier else ""),
    )
    print(f"report: {page}")
