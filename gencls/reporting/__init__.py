"""What a run says about itself: metrics with errors, curves (prepare), plots (draw), run records, the report.

The rule of the room: `metrics` and `curves` compute, `plots` only draw, `report` only assembles.
Everything replays from the files of a run folder (`scores.npz`, `metrics.json`, `run.json`) on a CPU, without
torch.
"""
