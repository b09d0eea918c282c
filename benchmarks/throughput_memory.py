"""Memory of scoring, measured in a process of its own: peak resident memory above that of the loaded model.

    python -m benchmarks.throughput_memory --run runs/imdb-demo --ids texts.npz
    python -m benchmarks.throughput_memory --run runs/imdb-demo --text long.txt --max-length 510

One line of JSON on the standard output. `benchmarks.throughput` calls it.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]
GIB = 2**30
#: Of a chunk of a long text, tokens that belong to the chunk before.
OVERLAP = 0.25


def memory_of_texts(run: Path, token_ids: Sequence[IntArray], *, n_layers: int | None = None) -> dict[str, Any]:
    """Score many texts in a child process: a path of two steps, one draw.

    Parameters
    ----------
    run : Path
    token_ids : sequence of N ndarray of shape (L,), int64
    n_layers : int, optional
        Keep only the first layers of the encoder: the memory is the vocabulary side's, and it takes less time.

    Returns
    -------
    dict
        ``n_texts``, ``n_tokens``, ``seconds``, ``model_gib`` (resident after loading), ``extra_gib``.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "texts.npz"
        np.savez(path, ids=np.concatenate(token_ids), sizes=[len(ids) for ids in token_ids])
        layers = [] if n_layers is None else ["--layers", str(n_layers)]
        return _measured(["--run", str(run), "--ids", str(path), *layers])


def memory_of_a_long_text(run: Path, text: str, *, max_length: int) -> dict[str, Any]:
    """Tokenise and score one text of any length in chunks, in a child process; returns as `memory_of_texts`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "long.txt"
        path.write_text(text, encoding="utf-8")
        return _measured(["--run", str(run), "--text", str(path), "--max-length", str(max_length)])


def _measured(arguments: list[str]) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.throughput_memory", *arguments]
    root = Path(__file__).resolve().parents[1]
    path = os.pathsep.join(part for part in (str(root), os.environ.get("PYTHONPATH", "")) if part)
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[1:3])} failed with {done.returncode}:\n{done.stderr[-2000:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def resident_bytes() -> int:
    """Return the memory that this process holds now; its peak where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return peak_bytes()
    return pages * os.sysconf("SC_PAGE_SIZE")


def peak_bytes() -> int:
    """Return the largest memory that this process has held.

    Not `ru_maxrss` where there is something better: a child's starts with the memory of the process that made it.
    """
    try:
        status = Path("/proc/self/status").read_text()
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def main(arguments: argparse.Namespace) -> dict[str, Any]:
    """Load a run, score, and say what it took."""
    from gencls.classifier.estimator import DiffusionClassifier
    from gencls.diffusion.parts import keep_layers

    classifier = DiffusionClassifier.load(arguments.run)
    denoiser: Any = classifier.denoiser_
    if arguments.layers is not None:
        keep_layers(denoiser.network.encoder, denoiser.network.encoder.config, arguments.layers)
    model, start = resident_bytes(), time.perf_counter()
    facts = _score_ids(denoiser, arguments.ids) if arguments.ids else _score_text(classifier, arguments)
    facts["seconds"] = time.perf_counter() - start
    return {**facts, "model_gib": model / GIB, "extra_gib": (peak_bytes() - model) / GIB}


def _score_ids(denoiser: Any, path: Path) -> dict[str, Any]:
    from gencls.likelihood.engine import score_texts
    from gencls.likelihood.estimators import Estimator

    with np.load(path) as data:
        token_ids = np.split(data["ids"], np.cumsum(data["sizes"])[:-1])
    scores = score_texts(denoiser, token_ids, Estimator("path", n_steps=2, n_mc_samples=1), seed=0)
    return {"n_texts": len(token_ids), "n_tokens": int(scores.n_tokens.sum())}


def _score_text(classifier: Any, arguments: argparse.Namespace) -> dict[str, Any]:
    from gencls.diffusion.tokens import tokenize
    from gencls.likelihood.estimators import Estimator
    from gencls.likelihood.long_texts import score_long_texts

    text, length = arguments.text.read_text(encoding="utf-8"), arguments.max_length
    ids = tokenize([text], classifier.tokenizer_, max_length=len(text) + 1).ids
    estimator, overlap = Estimator("path", n_steps=2, n_mc_samples=1), int(OVERLAP * length)
    scores = score_long_texts(classifier.denoiser_, ids, estimator, max_length=length, overlap=overlap, seed=0)
    return {"n_characters": len(text), "n_tokens": int(scores.n_tokens[0]), "n_passes": int(scores.n_forwards[0])}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.throughput_memory", description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, required=True, help="folder of a trained run")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--ids", type=Path, help="npz file with the texts' token ids, and their sizes")
    what.add_argument("--text", type=Path, help="file with one long text")
    parser.add_argument("--max-length", type=int, default=510, help="tokens of a chunk of a long text")
    parser.add_argument("--layers", type=int, help="keep only the first layers")
    return parser


if __name__ == "__main__":
    print(json.dumps(main(_parser().parse_args())))
