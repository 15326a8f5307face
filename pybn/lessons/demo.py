"""The main job: train a network on the digits with both implementations, and see what the averages do.

python -m pybn demo [--epochs N] [--seed N] [--backend both|reference|compiled] [--output FOLDER]
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pybn import backend, batchnorm
from pybn.framework.progress import progress_bar
from pybn.framework.train import Loop, Trainer
from pybn.lessons import experiments

WIDTHS = (64, 64, 64)
BATCH_SIZE = 64


class Trained(NamedTuple):
    """One training on one implementation, and what it came to on the test digits."""

    name: str
    trainer: Trainer
    steps: int
    seconds: float
    accuracies: dict[str, float]


def train(name: str, seed: int, epochs: int) -> Trained:
    """Train on the implementation `name`, then evaluate in three ways."""
    digits = experiments.digits(seed, BATCH_SIZE)
    trainer = experiments.trainer(seed, experiments.classifier(WIDTHS))
    loop = Loop(trainer)
    progress_bar(loop, f"{name:10s}")
    with backend.use_backend(name):
        started = time.perf_counter()
        loop.run_epochs(digits.train, epochs)
        seconds = time.perf_counter() - started
        return Trained(name, trainer, loop.step, seconds, _accuracies(trainer, digits))


def _accuracies(trainer: Trainer, digits: experiments.Digits) -> dict[str, float]:
    """On the test digits: with batch statistics, with the averages as trained, and recomputed."""
    both = experiments.evaluate_both_ways(trainer, digits.test)
    batchnorm.update_averages(trainer, digits.whole)
    return {
        "with batch statistics": both.batch["accuracy"],
        "with the moving averages": both.averages["accuracy"],
        "after update_averages": trainer.eval(digits.test)["accuracy"],
    }


# --- what is printed ------------------------------------------------------------------------


def _report(runs: Sequence[Trained]) -> str:
    lines = [f"{'accuracy on the test digits':32s}" + "".join(f"{run.name:>12s}" for run in runs)]
    for way in runs[0].accuracies:
        lines.append(f"  {way:30s}" + "".join(f"{run.accuracies[way]:12.3f}" for run in runs))
    lines.append(f"{f'seconds for {runs[0].steps} steps':32s}" + "".join(f"{run.seconds:12.2f}" for run in runs))
    return "\n".join(lines)


# The two round differently, and a relu that switches on for one of them alone makes a jump of it:
# seen at 10 epochs 5e-7, at 40 epochs up to 8e-3 of a variable's largest number (7 seeds).  A term
# that is wrong makes the difference as large as the numbers.
BOUND = 5e-2


def largest_difference(a: Trained, b: Trained) -> tuple[float, str]:
    """The largest difference of a variable between two trainings, relative to its largest number, and its path."""
    theirs = {variable.path: variable.value for variable in b.trainer.context.variables()}
    return max(
        (_relative_difference(variable.value, theirs[variable.path]), variable.path)
        for variable in a.trainer.context.variables()
    )


def _relative_difference(a: np.ndarray, b: np.ndarray) -> float:
    """The largest difference over the largest number; 0 for equal arrays, infinite where one holds NaN."""
    if np.array_equal(a, b):
        return 0.0
    with np.errstate(divide="ignore"):
        return float(np.nan_to_num(np.abs(a - b).max() / np.abs(a).max(), nan=np.inf))


def _compare(runs: Sequence[Trained]) -> bool:
    """Print how far the two trainings are apart; whether that is within the bound."""
    reference, compiled = runs
    difference, path = largest_difference(reference, compiled)
    print(f"largest difference of a variable after the training: {difference:.1e} of its size, in {path}")
    print(f"time of the compiled training / the reference's: {compiled.seconds / reference.seconds:.2f}")
    if difference > BOUND:
        print(f"FAILED: the implementations may differ by {BOUND:.0e}", file=sys.stderr)
    return difference <= BOUND


def _draw(seed: int, output: Path) -> None:
    """The three figures of what the statistics do during training, or the sentence that says what they need."""
    try:
        from pybn.lessons import figures
    except ImportError as missing:
        print(f"no figures: {missing}")
        return
    for path in figures.save_demo_figures(experiments.story(seed), output):
        print(f"wrote {path}")


def _folder(text: str) -> Path:
    """A folder to write to, known to be none of something else before anything is trained."""
    path = Path(text)
    if path.exists() and not path.is_dir():
        raise argparse.ArgumentTypeError(f"must be a folder, got the file {text}")
    return path


# --- the command ----------------------------------------------------------------------------


def main(arguments: Sequence[str] = ()) -> int:
    """`python -m pybn demo`; 1 if the implementations differ by more than the bound, or one is missing."""
    options = _parser().parse_args(arguments)
    try:
        names = _implementations(options.backend)
    except ImportError as missing:
        print(f"pybn demo: {missing}", file=sys.stderr)
        return 1
    print(
        f"handwritten digits, {len(WIDTHS)} blocks of dense {WIDTHS[0]} + batch norm + relu, "
        f"{options.epochs} epochs in batches of {BATCH_SIZE}, seed {options.seed}"
    )
    runs = [train(name, options.seed, options.epochs) for name in names]
    print(_report(runs))
    agree = _compare(runs) if len(runs) == 2 else True
    _draw(options.seed, options.output)
    return 0 if agree else 1


def _implementations(asked: str) -> list[str]:
    """The implementations to run; ImportError where one that was asked for by name is missing."""
    if asked != "both":
        backend.load(asked)
        return [asked]
    if not backend.compiled_is_built():
        print("the compiled implementation is not built here (see `python -m pybn info`): the reference runs alone")
        return ["reference"]
    return ["reference", "compiled"]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m pybn demo", description=__doc__.partition("\n")[0])
    parser.add_argument("--epochs", type=_positive, default=10, help="passes over the digits (default 10)")
    parser.add_argument(
        "--seed", type=_seed, default=0, help="of the split, the first weights and the order (default 0)"
    )
    parser.add_argument("--backend", choices=("both", *backend.NAMES), default="both", help="default: both")
    parser.add_argument("--output", type=_folder, default=Path("pybn-demo"), help="folder of the figures (pybn-demo)")
    return parser


def _seed(text: str) -> int:
    """A whole number of 0 or more."""
    return _whole(text, 0)


def _positive(text: str) -> int:
    """A whole number of 1 or more."""
    return _whole(text, 1)


def _whole(text: str, least: int) -> int:
    # argparse would word a ValueError with the name of the function that raised it.
    if not text.strip().isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f"must be a whole number of {least} or more, got {text!r}")
    return int(text)
