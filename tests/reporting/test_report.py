import io
import json
import re
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from scipy.special import log_softmax

from gencls.data.storage import write_json
from gencls.reporting import curves, plots, tables
from gencls.reporting.evaluation import bits_per_token, cumulative_forwards, evaluation_metrics, load_scores
from gencls.reporting.figures import forwards_curve
from gencls.reporting.records import run_record, target_row, write_targets
from gencls.reporting.report import build_report
from gencls.reporting.summary import summary

FIGURES = ("comparison", "reliability", "log_odds", "confusion", "accuracy_forwards", "risk_coverage")


def make_scores(n=120, c=2, k=3, names=("negative", "positive")):
    rng = np.random.default_rng(0)
    y = np.arange(n) % c
    samples = rng.normal(size=(n, c, k)) + 8 * rng.normal(size=(n, c, 1)) + 8 * np.eye(c)[y][:, :, None] - 300
    raw = samples.mean(axis=2)
    return {
        "samples": samples,
        "y": y,
        "n_tokens": np.full(n, 50),
        "log_proba": log_softmax(raw / 5, axis=1),
        "log_proba_uncalibrated": log_softmax(raw, axis=1),
        "log_odds_se": np.ones(n),
        "log_prior": np.full(c, -np.log(c)),
        "forwards": np.arange(1, k + 1) + 1,
        "n_forwards": np.full(n, k + 1),
        "class_names": np.array(names),
        "baseline_naive_bayes": log_softmax(raw / 5 + rng.normal(size=(n, c)), axis=1),
    }


def write_run(folder, scores, *, run=None, targets=True):
    metrics = evaluation_metrics(scores, generator=np.random.default_rng(0))
    np.savez(folder / "scores.npz", **scores)
    write_json(folder / "metrics.json", metrics)
    write_json(folder / "run.json", run or run_record("gencls evaluate runs/toy", {}, 0, data={"name": "toy"}))
    if targets:
        write_targets(folder / "targets.json", [target_row("accuracy", 0.5, 0.84, ">=", "make demo")])
    return metrics


@pytest.fixture(scope="module", autouse=True)
def coarse_figures():
    """Pixels are most of the time of a report, and no test looks at them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plots, "DPI", 50)
        yield


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    metrics = write_run(folder, make_scores())
    return build_report(folder), metrics


class Page(HTMLParser):
    """Open tags that were never closed, and every address that the page would load."""

    VOID = ("meta", "img", "source", "br", "link")

    def __init__(self, text):
        super().__init__()
        self.open, self.sources = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.sources += [value for name, value in attributes if name in ("src", "srcset", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_report_is_complete_and_self_contained(report):
    path, _ = report
    page = Page(path.read_text(encoding="utf-8"))
    assert page.open == []
    assert len(page.sources) == 2 * len(FIGURES)
    assert all(source.startswith("data:image/png;base64,") for source in page.sources)
    assert "http" not in re.sub(r"data:image/png;base64,[^\"]*", "", path.read_text(encoding="utf-8"))
    assert "prefers-color-scheme: dark" in path.read_text(encoding="utf-8")


def test_every_figure_has_a_file_and_its_two_lines(report):
    path, _ = report
    markdown, page = (path.with_suffix(end).read_text(encoding="utf-8") for end in (".md", ".html"))
    for name in FIGURES:
        assert (path.parent / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert f"]({name}.png)" in markdown
    for text in (markdown, page):
        assert text.count("How to read it:") == text.count("What would disappoint:") == len(FIGURES)
    assert not [entry for entry in path.parent.iterdir() if entry.name.endswith(".tmp")]


def test_numbers_of_the_page_are_those_of_the_metrics(report):
    path, metrics = report
    for text in (path.read_text(encoding="utf-8"), path.with_suffix(".md").read_text(encoding="utf-8")):
        assert tables.percent(metrics["diffusion"]["accuracy"]) in text
        assert tables.number(metrics["naive_bayes"]["nll"]) in text
        assert "missed: accuracy" in text


def test_rebuilding_gives_the_same_bytes(report, tmp_path):
    path, _ = report
    before = path.read_bytes()
    assert build_report(path.parent).read_bytes() == before


def test_hostile_and_missing_entries(tmp_path):
    names = ("<script>alert(1)</script>", "a|b", "ж 好")
    run = {"command": "gencls evaluate '<b>'", "data": {"name": "<img src=x>", "class_counts": {}}}
    write_run(tmp_path, make_scores(c=3, names=names), run=run, targets=False)
    page = build_report(tmp_path).read_text(encoding="utf-8")
    assert "<script>" not in page and "<img src=x>" not in page and "&lt;script&gt;" in page
    markdown = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "a\\|b" in markdown and "<script>" not in markdown


def test_many_classes_one_draw_and_a_perfect_score(tmp_path):
    scores = make_scores(n=80, c=20, k=1, names=[f"class {i}" for i in range(20)])
    scores["log_proba"] = log_softmax(50 * np.eye(20)[scores["y"]], axis=1)
    write_run(tmp_path, scores)
    assert build_report(tmp_path).is_file()


def test_missing_and_damaged_inputs_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"got no run\.json, metrics\.json, scores\.npz"):
        build_report(tmp_path)
    write_run(tmp_path, make_scores())
    whole = (tmp_path / "scores.npz").read_bytes()
    (tmp_path / "scores.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"scores\.npz: expected a NumPy archive"):
        build_report(tmp_path)
    np.savez(tmp_path / "scores.npz", y=np.zeros(3))
    with pytest.raises(ValueError, match="got none named samples"):
        load_scores(tmp_path / "scores.npz")


def test_metrics_replay_from_the_file(report):
    path, metrics = report
    again = evaluation_metrics(load_scores(path.parent / "scores.npz"), generator=np.random.default_rng(0))
    assert json.loads(json.dumps(again)) == json.loads(json.dumps(metrics))
    assert set(metrics) == {"diffusion", "naive_bayes"}
    assert metrics["diffusion"]["forwards_per_text_per_class"] == 4
    assert metrics["diffusion"]["uncalibrated"]["accuracy"] == metrics["diffusion"]["accuracy"]
    assert metrics["diffusion"]["uncalibrated"]["nll"] > metrics["diffusion"]["nll"]
    assert 0 <= metrics["naive_bayes"]["mcnemar_p"] <= 1


def with_adapted_draws(scores):
    """The same scores, of every other text only the first draw."""
    samples = scores["samples"].copy()
    samples[::2, :, 1:] = np.nan
    n_draws = np.where(np.arange(len(samples)) % 2, 3, 1)
    rest = {name: value for name, value in scores.items() if name != "forwards"}
    return rest | {"samples": samples, "n_draws": n_draws, "is_open": n_draws == 3, "n_forwards": n_draws + 1}


def test_adapted_draws_have_no_curve_and_a_note(tmp_path):
    (tmp_path / "accuracy_forwards.png").write_bytes(b"of an earlier evaluation")
    scores = with_adapted_draws(make_scores())
    row = write_run(tmp_path, scores, targets=False)["diffusion"]
    assert row["forwards_per_text_per_class"] == 3
    assert row["draws"] == {"mean": 2.0, "median": 2.0, "largest": 3, "share_open": 0.5}
    first = scores["samples"][::2, :, 0]
    means = np.where(np.arange(120)[:, None] % 2, scores["samples"].mean(axis=2), scores["samples"][:, :, 0])
    np.testing.assert_array_equal(means[::2], first)
    own = means[np.arange(120), scores["y"]]
    assert row["nats_per_token"] == pytest.approx(-own.sum() / (120 * 50))
    page = build_report(tmp_path).read_text(encoding="utf-8")
    assert page.count("How to read it:") == len(FIGURES) - 1
    assert not (tmp_path / "accuracy_forwards.png").exists()
    assert "2.0 on average, median 2, at most 3" in page
    assert "left out" in page


@pytest.mark.parametrize(("is_kept", "told"), [(True, "kept"), (False, "taken back")])
def test_the_report_says_whether_the_class_training_was_kept(is_kept, told):
    verdict = {"loss_before": 0.6931, "loss_after": 0.5, "standard_error": 0.01, "is_kept": is_kept}
    facts = dict(tables.cost_facts({}, {"training": {"classes": {"steps": 3, "verdict": verdict}}}))
    assert facts["class training"].startswith(f"{told}; ")
    assert "0.693 before it, 0.500 after it" in facts["class training"]
    assert "class training" not in dict(tables.cost_facts({}, {"training": {"classes": {"steps": 3}}}))


def test_the_report_says_what_tables_beside_the_network_leave_it():
    name = "weight of the network beside its class tables"
    assert dict(tables.cost_facts({}, {"scoring": {"network_weight": 0.6512}}))[name] == "0.65"
    for run in ({}, {"scoring": {"network_weight": None}}):
        assert name not in dict(tables.cost_facts({}, run))


def test_scores_of_the_first_version_replay(tmp_path):
    scores = make_scores()
    older = {name: value for name, value in scores.items() if name not in ("forwards", "n_forwards")}
    older["forwards_per_draw"] = np.array(2)
    assert cumulative_forwards(older).tolist() == [2, 4, 6]
    assert write_run(tmp_path, older)["diffusion"]["forwards_per_text_per_class"] == 6
    assert build_report(tmp_path).is_file()


def test_the_curve_follows_what_decides():
    scores = make_scores()
    curve, flipped = (forwards_curve({**scores, **more}) for more in ({}, {"evidence": -scores["samples"]}))
    np.testing.assert_array_equal(curve.forwards, [2, 3, 4])
    np.testing.assert_allclose(curve.accuracy + flipped.accuracy, 1)
    assert forwards_curve(with_adapted_draws(scores)) is None


def test_bits_per_token_hand_example():
    nats = -np.log(2) * np.array([[10.0, 30.0], [50.0, 90.0], [8.0, 4.0]])
    matrix = bits_per_token(nats[:, :, None], [0, 0, 1], [10, 20, 4])
    np.testing.assert_allclose(matrix, [[60 / 30, 120 / 30], [2.0, 1.0]])


def test_summary_says_bad_news_too(report):
    _, metrics = report
    row = {
        **metrics["diffusion"],
        "accuracy": 0.6,
        "ece": 0.3,
        "nats_per_token": 7.0,
        "unigram_nats_per_token": 6.5,
    }
    text = summary({"diffusion": row, "naive_bayes": {**row, "accuracy": 0.7, "mcnemar_p": 1e-5}}, {})
    assert "10.0 points below naive Bayes" in text
    assert "still miscalibrated" in text
    assert "0.50 more than the unigram entropy" in text


@pytest.mark.parametrize("theme", [plots.LIGHT, plots.DARK])
def test_plots_return_figures_and_leave_no_pyplot_state(theme):
    import matplotlib as mpl
    import matplotlib.pyplot as plt

    before = dict(mpl.rcParams)
    scores = make_scores()
    histogram = curves.prepare_log_odds(scores["log_proba"], scores["y"], scores["class_names"])
    figure = plots.plot_log_odds({"one": histogram}, theme)
    assert isinstance(figure, Figure)
    assert plots.to_png(figure) == plots.to_png(figure)
    assert plt.get_fignums() == [] and dict(mpl.rcParams) == before


def test_256_colours_show_what_all_of_them_do():
    scores = make_scores()
    histogram = curves.prepare_log_odds(scores["log_proba"], scores["y"], scores["class_names"])
    canvas = FigureCanvasAgg(plots.plot_log_odds({"one": histogram}, plots.LIGHT))
    canvas.draw()
    drawn = np.asarray(canvas.buffer_rgba())[..., :3].astype(int)
    image = Image.open(io.BytesIO(plots.to_png(canvas.figure)))
    assert (image.mode, image.size) == ("P", drawn.shape[1::-1])
    assert image.width == 1400
    assert np.abs(np.asarray(image.convert("RGB")).astype(int) - drawn).mean() < 0.1


def test_the_room_never_imports_torch():
    code = (
        "import sys; import gencls.reporting.report, gencls.classifier.bayes, gencls.classifier.calibration, "
        "gencls.classifier.selective; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
