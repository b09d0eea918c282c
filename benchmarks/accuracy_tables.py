"""The tables of `benchmarks.accuracy` with a row for each data set, seed and model: `tables.md` of its report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.accuracy_figures import OWN, title
from benchmarks.accuracy_results import outcome
from benchmarks.markdown import table
from gencls.diffusion.statistics import as_words
from gencls.evaluation.language_model import BOUND_STEPS, BOUND_TEXTS
from gencls.reporting.tables import p_value

Row = Mapping[str, Any]
#: Gain over the unigram below which a model is none of language, in nats per token.
LITTLE_CONTEXT = 0.1
_PAGE = """# Accuracy and calibration: all numbers

Made by `{command}`, with the page that says what they mean, [README.md](README.md).

## Data

{data}

## Training

Steps of the adaptation and of the classes; the smoothing of the count tables, as the training texts chose it: nothing
to tell where an evaluation is older than this table. The code is the commit that evaluated it; where the working tree
had changes, a plus follows. The training may be of an earlier one.

{training}

## Accuracy

Share of test texts classified rightly, with Wilson's 95 % interval. "Generative ahead by": paired difference on the
same texts with its 95 % interval, in points; McNemar's p beside it. Bold: the best of the data set. Naive Bayes on
words, NB-SVM and TF-IDF see the full text, all others the same cut tokens ("decided whole" above: the generative model
and its tables train on these, and decide by the whole text); the encoder, with all its layers, sees as many training
texts as both stages of the generative model together (if it has steps of its own, or is kept from an evaluation of
another recipe, its steps or backbone follow). One training of each model and seed: intervals are over test texts alone.
"With unlabelled texts": test texts that are not scored train without their labels, with classes that a model of the
labelled texts gives them, once; so do the rivals (self-training), but causal ones.

{accuracy}

## Where which one wins

A model wins where the interval of the paired difference leaves zero out.

{wins}

## Language model or linear classifier in disguise?

Nats per token of test texts, at most {n_bound} of them, under their own class ({steps} path steps), beside the unigram
of the training texts. A good accuracy at the unigram's entropy is a linear classifier in disguise.

{language}

## Calibration

After temperature; ECE in 15 bins of equal mass with its bootstrap interval, beside the interval in which a perfectly
calibrated model of the same confidences would land ("null"). Drawing texts again raises the ECE, so that its
own interval lies too high and can leave out the value itself: judge by the null. "Fitted to": held-out texts of the
temperature, those of the calibration and of the validation split; where none is told, the model was calibrated before
the latter took part, on about half as many.

{calibration}

Other ways to calibrate the generative and the hybrid scores, fitted on the same held-out texts; ECE also from the
shortest to the longest quarter of the test texts:

{methods}

Accuracy and mean confidence from the shortest to the longest quarter of the texts, generative variant:

{lengths}

## Costs

Operations are estimates from the numbers of weights, tokens and features (`gencls/evaluation/costs.py`); minutes and
rates are of one machine, which had other work to do at times.

{costs}
"""


def tables_page(rows: Sequence[Row], evaluations: Sequence[Row], command: str) -> str:
    """Return the page in Markdown.

    Parameters
    ----------
    rows, evaluations : sequence of dict
        Of `benchmarks.accuracy_results.joined`.
    command : str
    """
    generative = [row for row in evaluations if row["variant"] == "generative"]
    return _PAGE.format(
        command=command,
        data=table(
            ["data", "classes", "train", "test", "tokens kept", "texts cut", "majority", "source"],
            map(_data, generative),
        ),
        training=table(["data", "variant", "steps", "tables smoothed by", "code"], map(_training, evaluations)),
        accuracy=table(
            ["data", "model", "accuracy [95 %]", "generative ahead by", "p"],
            (_accuracy(row, best) for models in by_place(rows).values() for row, best in _with_best(models)),
        ),
        wins=table(["data", "generative wins against", "loses against", "undecided"], map(_wins, _rivals(rows))),
        steps=BOUND_STEPS,
        n_bound=BOUND_TEXTS,
        language=table(
            ["data", "variant", "nats/token", "unigram", "gain", "reads context"], map(_language, evaluations)
        ),
        calibration=table(
            ["data", "model", "NLL", "Brier", "ECE [95 %]", "null", "smooth ECE", "ECE before", "fitted to"],
            map(_calibration, rows),
        ),
        methods=table(
            ["data", "variant", "method", "NLL", "Brier", "ECE", "null", "smooth ECE", "ECE by quarter"],
            (_method(row, one) for row in evaluations for one in row["calibration"]),
        ),
        lengths=table(
            ["data", "shortest", "", "", "longest"],
            ([place_name(row), *map(_quarter, row["lengths"])] for row in generative),
        ),
        costs=table(
            ["data", "model", "training, min", "training, GFLOP", "MFLOP a text", "test texts/s"],
            _costs(rows, evaluations),
        ),
    )


def place_name(row: Row) -> str:
    """Return a row's data set and its seed."""
    return f"{row['data']}, seed {row['seed']}"


def with_difference(said: str, row: Row) -> str:
    """Return what is said of a model, and in what it differs from one that was fitted beside this generative model."""
    return f"{said} ({row['differs']})" if "differs" in row else said


def _title(row: Row) -> str:
    return with_difference(title(row["model"]), row)


def percent(value: float | None, digits: int = 1) -> str:
    """Return a share in percent."""
    return "–" if value is None else f"{100 * value:.{digits}f}"


def _data(row: Row) -> list[str]:
    split = row["split"]
    is_whole = split.get("long_texts") == "chunks"  # evaluations older than this row do not tell
    kept = f"{split['max_length']}, {split['truncation']}{'; decided whole' * is_whole}"
    sizes = [f"{split['train']:,}", f"{row['n_texts']:,}"]
    cut, majority = f"{percent(split['share_cut'])} %", f"{percent(row['majority_accuracy'])} %"
    return [place_name(row), str(row["n_classes"]), *sizes, kept, cut, majority, split["source"]]


def _training(row: Row) -> list[str]:
    told = row.get("training")
    steps = f"{told['adapt_steps']:,} + {told['classes_steps']:,}" if told else "–"
    smoothing = as_words(told["smoothing"]) if told else "–"
    return [place_name(row), row["variant"], steps, smoothing, _code(row["commit"])]


def _code(commit: str | None) -> str:
    """The first digits of a commit, with a plus where files had changed."""
    if commit is None:
        return "–"
    digits, changed, _ = commit.partition("+")
    return f"`{digits[:7]}{changed}`"


def _with_best(models: Mapping[str, Row]) -> list[tuple[Row, float]]:
    """Each model of a place with the accuracy of the best of them."""
    best = max(row["accuracy"] for row in models.values())
    return [(row, best) for row in models.values()]


def _accuracy(row: Row, best: float) -> list[str]:
    value = percent(row["accuracy"])
    shown = f"**{value}**" if row["accuracy"] == best else value
    interval = f"{shown} [{percent(row['accuracy_low'])}, {percent(row['accuracy_high'])}]"
    if row["model"] == "diffusion":
        return [place_name(row), _title(row), interval, "", ""]
    return [place_name(row), _title(row), interval, lead(row), p_value(row["mcnemar_p"])]


def lead(row: Row) -> str:
    """Return by how many points a model is ahead, with the interval; `row` as `difference` gives it."""
    return f"{100 * row['ahead']:+.1f} [{percent(row['ahead_low'])}, {percent(row['ahead_high'])}]"


def by_place(rows: Sequence[Row]) -> dict[str, dict[str, Row]]:
    """Return the row of each model, by data set and seed."""
    places: dict[str, dict[str, Row]] = {}
    for row in rows:
        places.setdefault(place_name(row), {})[row["model"]] = row
    return places


def _rivals(rows: Sequence[Row]) -> list[list[Row]]:
    """The models beside the generative one, of each data set and seed."""
    return [[row for row in models.values() if row["model"] != "diffusion"] for models in by_place(rows).values()]


def _wins(rows: Sequence[Row]) -> list[str]:
    groups: dict[str, list[str]] = {"wins": [], "loses": [], "undecided": []}
    for row in rows:
        groups[outcome(row)].append(_title(row))
    return [place_name(rows[0]) if rows else "", *("; ".join(names) or "–" for names in groups.values())]


def _language(row: Row) -> list[str]:
    gain = row["gain_over_unigram"]
    reads = "yes" if gain >= LITTLE_CONTEXT else "no: a linear classifier in disguise"
    nats = [f"{row[name]:.2f}" for name in ("nats_per_token", "unigram_nats_per_token")]
    return [place_name(row), row["variant"], *nats, f"{gain:.2f}", reads]


def _calibration(row: Row) -> list[str]:
    interval = f"{percent(row['ece'])} [{percent(row['ece_low'])}, {percent(row['ece_high'])}]"
    null = f"[{percent(row['ece_null_low'])}, {percent(row['ece_null_high'])}]"
    before = percent((row.get("uncalibrated") or {}).get("ece"))
    scores = [f"{row['nll']:.3f}", f"{row['brier']:.3f}"]
    told = f"{row['calibrated_on']:,}" if row.get("calibrated_on") else "–"
    return [place_name(row), _title(row), *scores, interval, null, percent(row["smece"]), before, told]


def _method(evaluation: Row, row: Row) -> list[str]:
    null = f"[{percent(row['ece_null_low'])}, {percent(row['ece_null_high'])}]"
    scores = [f"{row['nll']:.3f}", f"{row['brier']:.3f}", percent(row["ece"]), null, percent(row["smece"])]
    told = [place_name(evaluation), evaluation["variant"], row["method"]]
    return [*told, *scores, " ".join(map(percent, row["quarters"]))]


def _quarter(row: Row) -> str:
    bounds = f"{row['shortest']}-{row['longest']}"
    return f"{percent(row['accuracy'])} ({percent(row['confidence'])}; {bounds} tokens)"


def _costs(rows: Sequence[Row], evaluations: Sequence[Row]) -> list[list[str]]:
    rates = {(row["data"], row["seed"], row["variant"]): row["texts_per_second"] for row in evaluations}
    cells = []
    for row in rows:
        variant = OWN.get(row["model"])
        rate = rates.get((row["data"], row["seed"], variant))
        minutes = "–" if row["train_seconds"] is None else f"{row['train_seconds'] / 60:.1f}"
        flops = [_scaled(row["train_flops"], 1e9), _scaled(row["score_flops_per_text"], 1e6)]
        cells.append([place_name(row), _title(row), minutes, *flops, "–" if rate is None else f"{rate:.1f}"])
    return cells


def _scaled(value: float | None, unit: float) -> str:
    """A number with three digits that count, in a unit."""
    return "–" if value is None else f"{float(f'{value / unit:.3g}'):,g}"
