"""The figures of a report: which curves, under which name, and the two lines of each.

A figure without a hint at what would be bad is decoration: each entry says how to read it, and what would
disappoint.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

from gencls.reporting import curves, plots
from gencls.reporting.evaluation import BASELINE_PREFIX, baseline_names, cumulative_forwards

Scores = Mapping[str, Any]
Draw = Callable[[plots.Theme], Figure]

#: Figures that not every evaluation has.
OPTIONAL_FIGURES = ("accuracy_forwards",)
MODEL_TITLES = {
    "diffusion": "diffusion",
    "naive_bayes": "naive Bayes",
    "naive_bayes_pairs": "its count tables, no network",
    "naive_bayes_words": "naive Bayes, words",
    "naive_bayes_bigrams": "naive Bayes, words and pairs",
    "nb_svm": "NB-SVM",
    "tfidf_logistic_regression": "TF-IDF + logistic regression",
    "encoder": "encoder, fine-tuned",
    "encoder_adapted": "encoder, from the language model",
    "causal_per_class": "causal LM per class, adapters",
    "causal_scratch": "causal LM per class, from scratch",
    "causal_zero_shot": "causal LM, zero-shot",
}


@dataclass(frozen=True)
class FigureEntry:
    """One figure: file name without ending, title, its two lines, and how to draw it for a theme."""

    name: str
    title: str
    how_to_read: str
    disappointing: str
    draw: Draw


def model_title(name: str) -> str:
    """A model's key in `metrics.json` as a reader's words."""
    return MODEL_TITLES.get(name, name.replace("_", " "))


def report_figures(scores: Scores, metrics: Mapping[str, Any]) -> list[FigureEntry]:
    """All figures that the scores allow, in the order of the page.

    Parameters
    ----------
    scores : mapping of arrays, as in `scores.npz`
    metrics : mapping, as in `metrics.json`
    """
    entries = [
        _comparison(metrics),
        _reliability(scores),
        _log_odds(scores),
        _confusion(scores),
        _forwards(scores),
        _risk_coverage(scores),
    ]
    return [entry for entry in entries if entry is not None]


def _comparison(metrics: Mapping[str, Any]) -> FigureEntry:
    models = curves.prepare_comparison({model_title(name): row for name, row in metrics.items()})
    return FigureEntry(
        "comparison",
        "Against the baselines",
        "Left: share of test texts classified rightly, with its 95 % interval; the same texts for all. "
        "Right: the mark is the calibration error, the grey band is where a perfectly calibrated model "
        "would land on so many texts.",
        "Diffusion no better than its own count tables: then the network learned nothing about the class "
        "beyond counts of words and pairs. A mark to the right of its band: its probabilities are not frequencies.",
        lambda theme: plots.plot_comparison(models, theme),
    )


def _reliability(scores: Scores) -> FigureEntry:
    named = {
        "before temperature": curves.prepare_reliability(scores["log_proba_uncalibrated"], scores["y"]),
        "after temperature": curves.prepare_reliability(scores["log_proba"], scores["y"]),
    }
    return FigureEntry(
        "reliability",
        "Does it know how sure it is?",
        "Each mark is a fifteenth of the test texts: how sure the classifier was against how often it was "
        "right, with a 95 % interval. On the dashed line, 80 % sure means right 80 % of the time. Below: "
        "how many texts are how sure.",
        "Marks below the line after temperature: still overconfident. All marks of the left panel at "
        "100 %: raw sums of log-ratios saturate, which is expected, and why the right panel exists.",
        lambda theme: plots.plot_reliability(named, theme),
    )


def _log_odds(scores: Scores) -> FigureEntry:
    keys = {"before temperature": "log_proba_uncalibrated", "after temperature": "log_proba"}
    panels = {
        title: curves.prepare_log_odds(scores[key], scores["y"], scores["class_names"]) for title, key in keys.items()
    }
    return FigureEntry(
        "log_odds",
        "How far apart the classes lie",
        "Log-odds of the test texts by their true class; a text is decided by the side of the zero line on "
        "which it lies. One nat is a factor of 2.7 in the odds. The outermost bars hold what lies beyond.",
        "Two heaps on top of each other: no class signal. Both heaps on one side of zero: one class's "
        "model gives higher scores to everything, the sign of unequal training.",
        lambda theme: plots.plot_log_odds(panels, theme),
    )


def _confusion(scores: Scores) -> FigureEntry:
    confusion = curves.prepare_confusion(scores["log_proba"], scores["y"], scores["class_names"])
    return FigureEntry(
        "confusion",
        "Which class is taken for which",
        "Rows are true classes, columns predicted ones; each row sums to 100 %, the number of texts stands below.",
        "One column that takes all: the classifier prefers a class whatever the text is. Rows that differ "
        "a lot: the accuracy depends on the mix of classes in the test.",
        lambda theme: plots.plot_confusion(confusion, theme),
    )


def forwards_curve(scores: Scores) -> curves.AccuracyAgainstForwards | None:
    """Accuracy against forwards; None where each text has its own number of draws: nothing to sweep."""
    forwards = cumulative_forwards(scores)
    if forwards is None:
        return None
    draws = scores.get("evidence", scores["samples"])  # what decides
    return curves.accuracy_against_forwards(draws, scores["y"], scores["log_prior"], forwards)


def _forwards(scores: Scores) -> FigureEntry | None:
    curve = forwards_curve(scores)
    if curve is None:
        return None
    return FigureEntry(
        "accuracy_forwards",
        "What more forwards buy",
        "Left: accuracy when only the first, the first two, ... draws of masks are averaged; the bar is "
        "the range over which draws these are. Right: share of texts that get the same class as from all "
        "draws.",
        "A left curve still rising at its end: the scores are noise-bound, and more forwards would help. "
        "Agreement far under 100 % at the last step but one: many decisions hang on the luck of the masks.",
        lambda theme: plots.plot_accuracy_against_forwards(curve, theme),
    )


def _risk_coverage(scores: Scores) -> FigureEntry:
    keys = {"diffusion": "log_proba", **{name: BASELINE_PREFIX + name for name in baseline_names(scores)}}
    named = {model_title(name): curves.prepare_risk_coverage(scores[key], scores["y"]) for name, key in keys.items()}
    return FigureEntry(
        "risk_coverage",
        "If it may abstain",
        "From left to right the classifier answers more texts, the surest first; the curve is its error "
        "rate among them. Lower is better; the right end is the error rate on all texts, the area is the "
        "mean height.",
        "A flat curve: confidence says nothing about being right. A curve that starts high: its surest "
        "answers include plain mistakes.",
        lambda theme: plots.plot_risk_coverage(named, theme),
    )
