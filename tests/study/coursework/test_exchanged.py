"""What is exchanged in a class under names that nobody knows: gamma and beta, the two modes, the two gradients."""

import pytest

from pybn.study.coursework import check_batch_norm
from tests.support.manners import last_class

TEXT = """
import numpy as np

class Couche:
    def __init__(self, nb, memoire=0.9):
        self.pente, self.biais = np.ones(nb), np.zeros(nb)
        self.moyenne, self.variance = np.zeros(nb), np.ones(nb)
        self.memoire, self.epsilon, self.apprentissage = memoire, 1e-5, True

    def propager(self, x):
        m, v = self.moyenne, self.variance
        if self.apprentissage:
            m, v = x.mean(axis=0), x.var(axis=0)
            self.moyenne = self.memoire * self.moyenne + (1 - self.memoire) * m
            self.variance = self.memoire * self.variance + (1 - self.memoire) * v
        self.ecart = np.sqrt(v + self.epsilon)
        self.reduit = (x - m) / self.ecart
        return self.pente * self.reduit + self.biais

    def retropropager(self, d):
        self.grad_pente, self.grad_biais = (d * self.reduit).sum(axis=0), d.sum(axis=0)
        n = len(d)
        return self.pente / self.ecart * (d - self.grad_biais / n - self.reduit * self.grad_pente / n)
"""
SHORT = [("pente", "斜率"), ("biais", "偏置")]  # names of two characters
SLIPS = [
    ([], ("self.pente * self.reduit + self.biais", "self.biais * self.reduit + self.pente"), ["affine-exchanged"]),
    (SHORT, ("(d * self.reduit).sum(axis=0), d.sum(axis=0)", "d.sum(axis=0), (d * self.reduit).sum(axis=0)"), None),
    ([("apprentissage", "learning")], ("if self.learning", "if not self.learning"), ["modes-swapped"]),
]


def written(names, *edits):
    text = TEXT
    for old, new in (*names, *edits):
        assert old in text
        text = text.replace(old, new)
    return last_class(text)


@pytest.mark.parametrize("names", [[], SHORT, [("apprentissage", "learning")]])
def test_the_right_one_is_judged_whole(names):
    report = check_batch_norm(written(names))
    assert report.ok, report.text
    assert report.possible == 10


@pytest.mark.parametrize(("names", "slip", "said"), SLIPS)
def test_the_exchange_is_the_one_finding(names, slip, said):
    report = check_batch_norm(written(names, slip))
    codes = list(dict.fromkeys(found.code for found in report.findings))
    if said is None:
        assert "dgamma and dbeta are in each other's place" in report.text
        assert report.findings[0].part == "backward"
    else:
        assert codes == said, report.text


def test_exchanged_modes_bring_no_images_with_them():
    """What stands for training takes arrays of any rank then: it is not said to fail on images."""
    report = check_batch_norm(written([("apprentissage", "learning")], ("if self.learning", "if not self.learning")))
    assert "spatial" not in report.parts
