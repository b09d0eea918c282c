"""What a decision costs: estimators, adaptive draws, two rivals, long texts and level weights, on a trained run.

    python -m benchmarks.estimators --run runs/imdb-demo --preset small --output reports/estimators

Parts: noise at equal forwards and texts short enough for the chain (`estimators_noise`), decisions of 1 024 forwards
and rules that stop earlier (`agreement`), wall time against the rivals (`estimators_speed`), long texts and weights of
levels (`estimators_quality`). Rule and weights are fitted on the calibration split; everything is measured on texts of
its validation and test splits, and nothing is chosen there. Forward passes are kept in the run's folder, so that
a second call goes on where the first one stopped; times are always measured anew.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.agreement import FIXED_DRAWS, Judge, KeptDraws, forwards_at_agreement, reference_decisions
from benchmarks.estimators_material import Material
from benchmarks.estimators_noise import compare, seeds_of, short_texts
from benchmarks.estimators_quality import long_text_rows, weighting_rows
from benchmarks.estimators_report import write_report
from benchmarks.estimators_speed import (
    EARLIER,
    LLADA,
    LLADA_SHARED,
    OtherLoad,
    SpeedTexts,
    rival_rows,
    rival_timers,
    speedup,
    timed_pairs,
)
from gencls.evaluation.runs import accelerator_name
from gencls.likelihood.adaptive import StoppingRule, fit_stopping_rule
from gencls.likelihood.estimators import Estimator
from gencls.reporting.records import run_record, target_row, write_targets

#: Two steps: the cheapest path that sees context, and what the classifier does.
PATH = Estimator("path", 2, 1)
#: Draws of a long text and of its end.
LONG = Estimator("path", 2, 4)
TARGET = 0.01


@dataclass(frozen=True)
class Config:
    """What is measured.

    Parameters
    ----------
    n_texts : int
        Texts with a reference decision; the other studies but that of long texts take the first of them.
    n_noise_texts, n_repeats, forwards : int, int, tuple of int
        Of the table of noise: texts, seeds, forward passes.
    n_short_texts, short_tokens : int
        Of the table with the chain.
    n_rule_texts, rule_draws : int
        Of the calibration split.
    targets : tuple of float
        Flip rates.
    n_speed_texts, n_pairs, n_rival_texts : int
        Reviews, pairs of times, and how many reviews a rival scores in each.
    earlier_draws, llada_draws : tuple of int
        Of the rivals, on all reviews.
    n_limit_texts, earlier_limit_draws : int, tuple of int
        Fewer reviews and more draws: where a rival ends.
    n_long_texts, n_weighting_texts : int
    seed : int
        Of all masks, and of the samples of texts.
    """

    n_texts: int = 200
    n_noise_texts: int = 24
    n_repeats: int = 2
    forwards: tuple[int, ...] = (1, 2, 4, 8, 16)
    n_short_texts: int = 12
    short_tokens: int = 24
    n_rule_texts: int = 300
    rule_draws: int = 4
    targets: tuple[float, ...] = (0.005, 0.01, 0.05)
    n_speed_texts: int = 60
    n_pairs: int = 5
    n_rival_texts: int = 2
    earlier_draws: tuple[int, ...] = (5, 20, 80)
    llada_draws: tuple[int, ...] = (32, 64, 128)
    n_limit_texts: int = 20
    earlier_limit_draws: tuple[int, ...] = (160, 320, 640)
    n_long_texts: int = 120
    n_weighting_texts: int = 60
    seed: int = 1000

    def limited(self, limit: int | None) -> Config:
        """Return a copy with no more texts than `limit` anywhere."""
        names = [name for name in asdict(self) if name.startswith("n_") and name.endswith("_texts")]
        if limit is None:
            return self
        return replace(self, **{name: min(getattr(self, name), limit) for name in names})


PRESETS = {
    "small": Config(),
    "full": Config(
        n_texts=2000,
        n_noise_texts=48,
        n_short_texts=40,
        n_rule_texts=999,
        n_speed_texts=500,
        n_pairs=5,
        n_rival_texts=4,
        n_limit_texts=30,
        earlier_limit_draws=(160, 320),
        n_long_texts=500,
        n_weighting_texts=400,
    ),
}


def main(
    config: Config,
    limit: int | None = None,
    *,
    run: Path,
    output: Path,
    command: str,
    progress: bool = True,
    log: Callable[[str], Any] = lambda line: None,
) -> Path:
    """Measure a trained run and write the report.

    Parameters
    ----------
    config : Config
    limit : int, optional
        Fewer texts, to try it.
    run, output : Path
        Folder of the trained run; folder of the report.
    command : str
        As typed, for the record.
    progress : bool
    log : callable
        Gets a line for each part.

    Returns
    -------
    Path
        The report.
    """
    config, started = config.limited(limit), time.monotonic()
    material = Material.load(run, config.n_texts, seed=config.seed, progress=progress)
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "noise": lambda: noise_part(material, config),
        "decisions": lambda: decision_part(material, config),
        "long texts": lambda: {"long": long_part(material, config)},
        "weightings": lambda: {"weighting": weighting_part(material, config)},
    }
    results: dict[str, Any] = {}
    seconds: dict[str, float] = {}
    for name, part in parts.items():
        start = time.monotonic()
        results |= part()
        seconds[name] = time.monotonic() - start
        log(f"{name}: {seconds[name]:.0f} s")
    facts = {**material.facts(), "run": run.name, "part_seconds": seconds, "wall_seconds": time.monotonic() - started}
    record = run_record(
        command, asdict(config), config.seed, device=accelerator_name(material.scorer.bias.device), **facts
    )
    write_targets(output / "targets.json", target_rows(results, command))
    return write_report(results, record, output)


def noise_part(material: Material, config: Config) -> dict[str, Any]:
    """Return the tables of noise and of short texts."""
    seeds = seeds_of(config.seed, config.n_repeats, material.scorer.n_classes)
    options = {"seeds": seeds, **material.options}
    prior, few = material.log_prior, material.token_ids[: config.n_noise_texts]
    rows = compare(material.scorer, few, material.labels[: len(few)], prior, forwards=config.forwards, **options)
    short = [ids[-config.short_tokens :] for ids in material.token_ids[: config.n_short_texts]]
    short_rows = short_texts(material.scorer, short, material.labels[: len(short)], prior, **options)
    facts = {"n_seeds": len(seeds), "n_noise_texts": len(few), "n_short_texts": len(short)}
    return {"noise": rows, "short": short_rows, "noise_facts": facts}


def decision_part(material: Material, config: Config) -> dict[str, Any]:
    """Return reference, rules and times: the times are of the rule that the agreement speaks for."""
    draw = material.draws(PATH, seed=config.seed)
    kept = KeptDraws(draw, len(material.token_ids), PATH)
    reference = reference_decisions(kept, material.log_prior)
    judge = Judge(reference, material.labels, kept, material.log_prior)
    rules = fitted_rules(material, config)
    fixed = [judge.fixed(number) for number in FIXED_DRAWS]
    adaptive = [judge.adaptive(rule) for rule in rules]
    rows = [*fixed, *(row for row, _ in adaptive), *(judge.naive(target) for target in config.targets)]
    chosen = next(number for number, rule in enumerate(rules) if rule.target_flip_rate == TARGET)
    decisions = {
        "reference": {str(count): number for count, number in reference.counts().items()},
        "reference_accuracy": float((reference.decisions == material.labels).mean()),
        "agreement": rows,
        "rules": [rule.as_dict() for rule in rules],
    }
    texts = SpeedTexts(material.token_ids, material.labels, reference.decisions, adaptive[chosen][1])
    return {**decisions, "speed": speed_part(material, config, texts.first(config.n_speed_texts), rules[chosen])}


def fitted_rules(material: Material, config: Config) -> list[StoppingRule]:
    """Return a stopping rule for each target, fitted on calibration texts."""
    token_ids, _ = material.calibration(config.n_rule_texts)
    rows = np.arange(len(token_ids))
    held = material.draws(PATH, seed=config.seed, token_ids=token_ids)(rows, 0, config.rule_draws)
    return [fit_stopping_rule(held.samples, held.n_tokens, material.log_prior, target) for target in config.targets]


def speed_part(material: Material, config: Config, texts: SpeedTexts, rule: StoppingRule) -> dict[str, Any]:
    """Return agreement of the rivals, times and ratios."""
    scoring = {"seed": config.seed, **material.options}
    most = {EARLIER: config.earlier_draws, LLADA: config.llada_draws}
    ends = {EARLIER: config.earlier_limit_draws, LLADA_SHARED: config.llada_draws[-1:]}
    rows = rival_rows(material.scorer, texts, most, **scoring)
    rows += rival_rows(material.scorer, texts.first(config.n_limit_texts), ends, **scoring)
    ours = material.fresh_decisions(PATH, rule, len(texts.labels), seed=config.seed)
    lengths = np.array([len(ids) for ids in texts.token_ids])
    rivals = rival_timers(material.scorer, texts.token_ids, seed=config.seed, precision=material.precision)
    load = OtherLoad()
    pairs = timed_pairs(ours, rivals, lengths, n_pairs=config.n_pairs, n_rival_texts=config.n_rival_texts)
    other_load = load.share()
    low = texts.row("ours", texts.ours)["agreement_low"]
    return {
        "n_texts": len(lengths),
        "our_agreement": float((texts.ours == texts.reference).mean()),
        "our_accuracy": float((texts.ours == texts.labels).mean()),
        "same_as_replay": float((ours() == texts.ours).mean()),
        "our_seconds": float(np.median([pair["ours"] for pair in pairs])),
        "rivals": rows,
        "pairs": pairs,
        "other_load": other_load,
        "speedups": {
            EARLIER: speedup(pairs, rows, EARLIER, ours=low),
            LLADA: speedup(pairs, rows, LLADA, ours=low, most=config.llada_draws[-1]),
        },
    }


def long_part(material: Material, config: Config) -> list[dict[str, Any]]:
    """Return the accuracies of long texts, chunks against the end."""
    token_ids, labels = material.whole(config.n_long_texts)
    options = {"max_length": material.max_length, "seed": config.seed, **material.options}
    return long_text_rows(material.scorer, token_ids, labels, material.log_prior, LONG, **options)


def weighting_part(material: Material, config: Config) -> list[dict[str, Any]]:
    """Return the accuracies of other weights of the levels."""
    part = slice(0, config.n_weighting_texts)
    texts = material.token_ids[part], material.labels[part]
    held = material.calibration(config.n_rule_texts)
    return weighting_rows(material.scorer, texts, held, material.log_prior, seed=config.seed, **material.options)


def target_rows(results: dict[str, Any], command: str) -> list[dict[str, Any]]:
    """Return the rows of `targets.json`."""
    rows, speedups = results["agreement"], results["speed"]["speedups"]
    own = next(row for row in rows if row["rule"] == "adaptive" and row["target"] == TARGET)
    values = [
        ("speedup_over_earlier_scorer", speedups[EARLIER]["ratio"], 100.0, ">="),
        ("speedup_over_llada_estimator", speedups[LLADA]["ratio"], 40.0, ">="),
        ("mean_forwards_at_99_agreement", forwards_at_agreement(rows, 1 - TARGET), 4.0, "<="),
        ("flip_rate_at_0.01", own["flip_rate"], TARGET, "<="),
    ]
    return [target_row(name, value, target, direction, command) for name, value, target, direction in values]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.estimators", description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, default=Path("runs/imdb-demo"), help="folder of a trained run")
    parser.add_argument("--preset", choices=PRESETS, default="small", help="how many texts and draws")
    parser.add_argument("--output", type=Path, default=Path("reports/estimators"), help="folder of the report")
    parser.add_argument("--limit", type=int, help="at most this many texts")
    return parser


def _tell(line: str) -> None:
    print(line, file=sys.stderr)


if __name__ == "__main__":
    arguments = _parser().parse_args()
    typed = " ".join(["python -m benchmarks.estimators", *sys.argv[1:]])
    options = {"run": arguments.run, "output": arguments.output, "command": typed, "log": _tell}
    report = main(PRESETS[arguments.preset], arguments.limit, **options)
    print(report.read_text(encoding="utf-8"))
    print(report)
