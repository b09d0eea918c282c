"""The one entry to all animations."""

from __future__ import annotations

import subprocess
import sys

import pytest
from PIL import Image

from gencls.generation.animation import animate, check_animation

LATIN = (" a", " b", " c", " d")


def test_the_ending_says_what_is_written(toy_trajectory, tmp_path):
    trajectory = toy_trajectory(LATIN, remasks=False, per_step=1)
    page = animate(trajectory, tmp_path / "a.html", title="a title")
    assert "a title" in page.read_text(encoding="utf-8")
    gif = animate([trajectory, trajectory], tmp_path / "a.GIF", ms_per_frame=100)
    with Image.open(gif) as picture:
        assert picture.n_frames == 3
    folder = animate(trajectory, tmp_path / "frames")
    assert sorted(path.name for path in folder.iterdir()) == [f"step_00{number}.png" for number in range(3)]


@pytest.mark.parametrize(
    ("name", "ms", "match"),
    [
        ("a.png", 800, "ends in .gif or .html"),
        ("a.gif", 5, "20 to 60000"),
        ("folder.gif", 800, "a folder of that name"),
        ("file", 800, "a file where the folder"),
    ],
)
def test_errors_come_before_the_work(tmp_path, name, ms, match):
    (tmp_path / "folder.gif").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=match):
        check_animation(tmp_path / name, ms)


def test_nothing_to_animate_is_an_error_and_leaves_no_file(tmp_path):
    with pytest.raises(ValueError, match="at least one trajectory"):
        animate([], tmp_path / "a.html")
    assert not list(tmp_path.iterdir())


def test_drawing_loads_no_torch():
    modules = [f"gencls.generation.{name}" for name in ("animation", "frames", "gif", "html", "terminal")]
    code = f"import sys, importlib; [importlib.import_module(m) for m in {modules}]; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
