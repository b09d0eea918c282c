"""One way to every kind of animation: the ending of the path says which."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gencls.data.errors import three_parts
from gencls.data.storage import write_atomic
from gencls.generation.trajectory import Trajectory
from gencls.generation.view import AlignedBy, timeline


def animate(
    trajectories: Trajectory | Sequence[Trajectory],
    path: str | Path,
    *,
    ms_per_frame: int = 800,
    aligned_by: AlignedBy = "steps",
    title: str = "Text out of masks",
) -> Path:
    """Write an animation.

    Parameters
    ----------
    trajectories : Trajectory or sequence of R Trajectory
        Several are shown side by side.
    path : path
        ``*.gif``, ``*.html`` (a viewer in one file), or a folder for frames ``step_000.png``, ...
    ms_per_frame : int
        Milliseconds of a frame, 20 to 60 000; nothing to a folder.
    aligned_by : {"steps", "time"}
        Whether trajectories meet by number of steps or by the clock.
    title : str
        Of the viewer.

    Returns
    -------
    pathlib.Path
        The file or the folder.

    Raises
    ------
    ValueError
        For another ending, a time out of range, or trajectories without steps.

    Warns
    -----
    UserWarning
        If no font has some of the characters (pictures only).
    """
    target = Path(path)
    check_animation(target, ms_per_frame)
    several = [trajectories] if isinstance(trajectories, Trajectory) else list(trajectories)
    timeline(several, aligned_by)  # its errors before any drawing
    if target.suffix.lower() == ".html":
        from gencls.generation.html import to_html

        page = to_html(several, ms_per_frame=ms_per_frame, aligned_by=aligned_by, title=title)
        return write_atomic(target, page)
    from gencls.generation.frames import draw_frames, write_frames

    frames = draw_frames(several, aligned_by=aligned_by)
    if target.suffix.lower() == ".gif":
        from gencls.generation.gif import to_gif

        return write_atomic(target, to_gif(frames, ms_per_frame=ms_per_frame))
    return write_frames(frames, target)


def check_animation(path: str | Path, ms_per_frame: int = 800) -> None:
    """Check where an animation would go, so that a command can say so before the long work.

    Raises
    ------
    ValueError
        For an ending that is neither ``.gif`` nor ``.html`` nor none, a file where a folder should be or the other
        way round, or a time out of range.
    """
    target = Path(path)
    is_folder = target.suffix == ""
    if target.suffix.lower() not in ("", ".gif", ".html"):
        got = f"{target.name!r}"
        raise ValueError(three_parts("a path that ends in .gif or .html, or a folder", got, "Change its ending."))
    if target.exists() and target.is_dir() != is_folder:
        kind = "a file where the folder should be" if is_folder else "a folder of that name"
        raise ValueError(three_parts(f"a place for {target.name!r}", kind, "Choose another name."))
    if not 20 <= ms_per_frame <= 60_000:
        raise ValueError(three_parts("20 to 60000 ms per frame", str(ms_per_frame), "800 is a good start."))
