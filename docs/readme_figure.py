"""The README's figure is a lesson's: `python docs/readme_figure.py` draws it anew."""

import runpy
import tempfile
from contextlib import chdir
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

ROOT = Path(__file__).resolve().parents[1]
LESSON = ROOT / "tutorials" / "plot_02_update_averages.py"
FIGURE = ROOT / "docs" / "_static" / "readme.png"

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as elsewhere, chdir(elsewhere):  # a lesson saves its figures where it runs
        runpy.run_path(str(LESSON))
        plt.figure(1).savefig(FIGURE, dpi=110, bbox_inches="tight", metadata={"Software": None})
    print(f"{FIGURE.relative_to(ROOT)}: the first figure of {LESSON.name}")
