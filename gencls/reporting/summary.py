"""The first paragraph of a report, generated from its numbers: good news and bad in the same words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gencls.reporting.evaluation import OWN_TABLES
from gencls.reporting.figures import model_title
from gencls.reporting.metrics import accuracy_interval
from gencls.reporting.tables import evaluated_data, number, p_value, percent

Metrics = Mapping[str, Any]
SIGNIFICANT = 0.05
#: Where even a calibrated model may show a calibration error above this, finding none says little.
FAINT = 0.05


def summary(metrics: Metrics, run: Mapping[str, Any], targets: Sequence[Mapping[str, Any]] = ()) -> str:
    """What the run showed, in one paragraph.

    Parameters
    ----------
    metrics, run, targets
        Contents of `metrics.json`, `run.json` and `targets.json`.
    """
    sentences = [
        _accuracy_sentence(metrics["diffusion"], run),
        _baseline_sentence(metrics),
        _network_sentence(metrics),
        _calibration_sentence(metrics["diffusion"]),
        _language_model_sentence(metrics["diffusion"]),
        _target_sentence(targets),
    ]
    return " ".join(sentence for sentence in sentences if sentence)


def _accuracy_sentence(row: Mapping[str, Any], run: Mapping[str, Any]) -> str:
    name, trained_on = evaluated_data(run.get("data") or {})
    where = f" of {name}" if name else ""
    where += f" (the models are trained on {trained_on})" if trained_on else ""
    low, high = accuracy_interval(row)
    return (
        f"On {row['n_texts']} held-out texts{where} the diffusion classifier is right on "
        f"{percent(row['accuracy'])} (95\u00a0% interval {number(100 * low, 1)} to {percent(high)}); always naming "
        f"the largest class would give {percent(row['majority_accuracy'])}."
    )


def _baseline_sentence(metrics: Metrics) -> str:
    own = metrics["diffusion"]["accuracy"]
    parts = [_against(name, own, row) for name, row in metrics.items() if name != "diffusion"]
    return f"It is {_join(parts)}." if parts else ""


def _network_sentence(metrics: Metrics) -> str:
    """Say plainly when the network's part of the decision is not seen."""
    tables = metrics.get(OWN_TABLES)
    if tables is None:
        return ""
    p, gain = tables.get("mcnemar_p"), metrics["diffusion"]["accuracy"] - tables["accuracy"]
    if p is not None and p < SIGNIFICANT:
        if gain > 0:
            return "So the network adds to what its own count tables know of the class."
        return (
            "So the network takes away from the decision of its own count tables (words with their neighbours): for "
            "the decision alone, the tables are the better classifier, and the network is their language model."
        )
    return (
        "So the network adds nothing to the decision that its own count tables (words with their neighbours) "
        "do not have: as a classifier this is naive Bayes with neighbours, and the network is its language model."
    )


def _against(name: str, own: float, row: Mapping[str, Any]) -> str:
    points = 100 * (own - row["accuracy"])
    p = row.get("mcnemar_p")
    side = "level with" if abs(points) < 0.05 else f"{abs(points):.1f} points {'above' if points > 0 else 'below'}"
    doubt = "" if p is None else f" (p\u00a0{_p_phrase(p)}{', within chance' if p >= SIGNIFICANT else ''})"
    return f"{side} {model_title(name)}{doubt}"


def _calibration_sentence(row: Mapping[str, Any]) -> str:
    low, high = row["ece_null_low"], row["ece_null_high"]
    visible = row["ece"] > high
    verdict = "so it is still miscalibrated" if visible else "so no miscalibration can be seen"
    if not visible and high > FAINT:
        verdict += ", and only a great one could be: the texts are few"
    raw = (row.get("uncalibrated") or {}).get("ece")
    before = f", after {percent(raw)} before temperature" if raw is not None else ""
    return (
        f"Its calibration error (ECE) is {percent(row['ece'])}{before}; a perfectly calibrated model would "
        f"show {number(100 * low, 1)} to {percent(high)} on so many texts, {verdict}."
    )


def _language_model_sentence(row: Mapping[str, Any]) -> str:
    # of as many path steps as were measured: a bound of more steps is tighter
    bound, unigram = row.get("bound_nats_per_token", row.get("nats_per_token")), row.get("unigram_nats_per_token")
    if bound is None or unigram is None:
        return ""
    gain, error, steps = unigram - bound, row.get("bound_nats_per_token_se"), row.get("bound_steps")
    measured = (
        "" if error is None else f" (\u00b1\u00a0{number(error, 2)}; {steps} path steps, {row['bound_texts']} texts)"
    )
    verdict = "it uses context" if gain > 0 else "it is no better than word frequencies as a model of text"
    return (
        f"As a language model it needs at most {number(bound, 2)} nats per token{measured}, {abs(gain):.2f} "
        f"{'less' if gain > 0 else 'more'} than the unigram entropy: {verdict}."
    )


def _target_sentence(targets: Sequence[Mapping[str, Any]]) -> str:
    if not targets:
        return ""
    missed = [str(row["name"]) for row in targets if not row.get("met")]
    if not missed:
        return f"All {len(targets)} targets are met."
    return f"Of {len(targets)} targets {len(targets) - len(missed)} are met; missed: {_join(missed)}."


def _p_phrase(p: float) -> str:
    text = p_value(p)
    return text if text.startswith("<") else f"=\u00a0{text}"


def _join(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
