"""A slip that no formula names is found as the edit of the student's own text that makes the part right."""

import ast
import importlib.util
import linecache

import pytest

from pybn.study.coursework import check_batch_norm
from pybn.study.coursework.edits.changes import edits

TEXT = """import numpy as np


def batchnorm_forward(x, gamma, beta, bn_param):
    eps, momentum = bn_param["eps"], bn_param["momentum"]
    old_mean = bn_param.get("running_mean", np.zeros(x.shape[1]))
    old_var = bn_param.get("running_var", np.zeros(x.shape[1]))
    if bn_param["mode"] == "test":
        hat = (x - old_mean) / np.sqrt(old_var + eps)
        return gamma * hat + beta, None
    mean = x.mean(axis=0)
    centred = x - mean
    var = np.mean(centred**2, axis=0)
    spread = np.sqrt(var + eps)
    hat = centred / spread
    out = gamma * hat + beta
    bn_param["running_mean"] = momentum * old_mean + (1 - momentum) * mean
    bn_param["running_var"] = momentum * old_var + (1 - momentum) * var
    return out, (hat, spread, gamma)


def batchnorm_backward(dout, cache):
    hat, spread, gamma = cache
    n = dout.shape[0]
    along = dout * gamma
    first = along.sum(axis=0) / n
    second = hat * (along * hat).sum(axis=0) / n
    dx = (along - first - second) / spread
    return dx, (dout * hat).sum(axis=0), dout.sum(axis=0)
"""
CLASS = """import numpy as np


class Normalizer:
    def __init__(self, width, momentum=0.9, eps=1e-5):
        self.gamma, self.beta = np.ones(width), np.zeros(width)
        self.running_mean, self.running_var = np.zeros(width), np.ones(width)
        self.momentum, self.eps = momentum, eps

    def forward(self, x, training=True):
        if training:
            mean, var = x.mean(axis=0), x.var(axis=0)
            self.running_mean = self.momentum * self.running_mean + (1 - self.momentum) * mean
            self.running_var = self.momentum * self.running_var + (1 - self.momentum) * var
        else:
            mean, var = self.running_mean, self.running_var
        self.spread = np.sqrt(var + self.eps)
        self.hat = (x - mean) / self.spread
        return self.gamma * self.hat + self.beta

    def backward(self, dout):
        self.dgamma = (dout * self.hat).sum(axis=0)
        self.dbeta = dout.sum(axis=0)
        mean = self.dbeta / len(dout) + self.hat * self.dgamma / len(dout)
        return self.gamma * (dout - mean) / self.spread
"""


@pytest.fixture
def written(tmp_path):
    """A module made of a text with some edits, read from a file."""

    def made(text, *changes):
        for old, new in changes:
            assert old in text
            text = text.replace(old, new, 1)
        path = tmp_path / f"solution_{len(list(tmp_path.iterdir()))}.py"
        path.write_text(text, encoding="utf-8")
        linecache.checkcache(str(path))
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return made


# The edit, the part that it makes wrong, the code of the first finding, and words of it.
SLIPS = [
    (
        "out = gamma * hat",
        "out = gamma / hat",
        "training",
        "edit-wrong",
        "line 16, gamma / hat: / stands where * belongs",
    ),
    ("hat = centred / spread", "hat = spread / centred", "training", "edit-exchanged", "in each other's place"),
    (
        "old_mean + (1 - momentum) * mean",
        "old_mean + (1 - momentum) / mean",
        "statistics",
        "edit-wrong",
        "/ stands where *",
    ),
    ("momentum * old_mean +", "old_mean**momentum +", "statistics", "edit-wrong", "** stands where * belongs"),
    ("+ (1 - momentum) * mean", "+ momentum * mean", "statistics", "momentum-rule", "momentum: 1 minus it is missing"),
    ("centred / spread", "centred / spread * n", "training", "raised", "* n does not belong there"),
    ("dx = (along - first - second) /", "dx = along - first - second /", "backward", "deviation-powers", "parentheses"),
    ("second = hat * (along", "second = gamma + hat * (along", "backward", "not-linear", "gamma + does not belong"),
    (
        "(along * hat).sum(axis=0) / n",
        "(along + hat).sum(axis=0) / n",
        "backward",
        "variance-sum-without-factor",
        "+ stands where * belongs",
    ),
    ("second = hat * (along", "second = dout * (along", "backward", "not-linear", "dout stands where hat belongs"),
    ("np.sqrt(var + eps)", "np.sqrt(1.7 * eps)", "training", "one-denominator", "the same number"),
    ("np.sqrt(var + eps)", "np.sqrt(var / eps)", "training", "edit-wrong", "/ stands where + belongs"),
    ("var = np.mean(centred**2", "var = np.mean(abs(centred)**3", "training", "edit-wrong", "3 stands where 2 belongs"),
    ("x.mean(axis=0)\n", "np.median(x) * x.mean(axis=0)\n", "training", "edit-extra", "does not belong there"),
    ("dout.shape[0]", "dout.shape[0] - 1", "backward", "both-paths-factor", "- 1 does not belong there"),
]
# The same of a class, whose layer is asked through its own methods.
OF_A_CLASS = [
    (
        "(x - mean) / self.spread",
        "(x - mean) / self.beta",
        "training",
        "edit-wrong",
        "self.beta stands where self.spread",
    ),
    ("self.gamma * self.hat", "self.gamma - self.hat", "training", "edit-wrong", "- stands where * belongs"),
    (
        "self.momentum * self.running_var",
        "self.momentum / self.running_var",
        "statistics",
        "edit-wrong",
        "/ stands where",
    ),
    (
        "self.hat * self.dgamma",
        "self.spread * self.dgamma",
        "backward",
        "variance-path-uncentred",
        "self.spread stands where self.hat",
    ),
]


@pytest.mark.parametrize(("old", "new", "part", "code", "words"), SLIPS, ids=[each[1].strip()[:40] for each in SLIPS])
def test_a_slip_is_called_by_its_line(written, old, new, part, code, words):
    report = check_batch_norm(written(TEXT, (old, new)))
    first = report.findings[0]
    assert (first.part, first.code) == (part, code), report.text
    assert words in first.what


@pytest.mark.parametrize(("old", "new", "part", "code", "words"), OF_A_CLASS, ids=[each[1] for each in OF_A_CLASS])
def test_so_is_one_of_a_class(written, old, new, part, code, words):
    report = check_batch_norm(written(CLASS, (old, new)).Normalizer)
    first = report.findings[0]
    assert (first.part, first.code) == (part, code), report.text
    assert words in first.what


def test_without_a_text_the_old_words_stay():
    table = {}
    exec(TEXT.replace("out = gamma * hat", "out = gamma / hat"), table)
    report = check_batch_norm(table["batchnorm_forward"], table["batchnorm_backward"])
    assert report.findings[0].code == "unexplained-output"


def test_a_text_that_is_not_what_runs_is_not_edited(written, tmp_path):
    module = written(TEXT, ("out = gamma * hat", "out = gamma / hat"))
    path = tmp_path / f"{module.__name__}.py"
    path.write_text(TEXT.replace("out = gamma * hat", "out = gamma - hat"), encoding="utf-8")
    linecache.checkcache(str(path))
    assert check_batch_norm(module).findings[0].code == "unexplained-output"


def test_the_functions_are_left_as_they_were(written):
    module = written(TEXT, ("out = gamma * hat", "out = gamma / hat"))
    before = module.batchnorm_forward.__code__, module.batchnorm_backward.__code__
    first, again = check_batch_norm(module), check_batch_norm(module)
    assert (module.batchnorm_forward.__code__, module.batchnorm_backward.__code__) == before
    assert first.findings == again.findings


def test_two_slips_of_one_part_are_no_edit(written):
    changes = ("np.sqrt(var + eps)", "np.sqrt(var - gamma * eps)"), ("out = gamma * hat", "out = gamma / hat")
    report = check_batch_norm(written(TEXT, *changes))
    assert not any(each.code.startswith("edit-") for each in report.findings), report.text


def test_a_loop_that_an_edit_would_make_endless_ends(written):
    loop = "n = 3\n    while n != 0:\n        n = n - 1\n    out = gamma / hat"
    report = check_batch_norm(written(TEXT, ("out = gamma * hat", loop)))
    assert report.findings[0].code in ("unexplained-output", "edit-wrong")
    assert report.seconds < 20


def test_a_function_that_does_not_return_is_not_searched(written):
    report = check_batch_norm(
        written(TEXT, ("    mean = x", "    while True:\n        pass\n    mean = x")), time_limit=0.2
    )
    assert report.findings[0].code == "hung"


def test_one_edit_that_mends_two_parts_is_one_finding(written):
    report = check_batch_norm(written(TEXT, ("x.mean(axis=0)\n", "x.mean(axis=0) / eps\n")))
    assert "/ eps does not belong there" in report.findings[0].what
    assert len({each.what for each in report.findings}) == 1
    assert report.text.count("line 11") == 1


def test_what_is_tried_of_one_line():
    tree = ast.parse("def f(a, b, c):\n    return a - b / c")
    tried = {}
    for edit in edits(tree.body[0], tree.body[0]):
        old = edit.slot.node
        edit.slot.put(edit.placed())
        tried.setdefault(ast.unparse(tree.body[0].body[0].value), edit.code)
        edit.slot.put(old)
    assert ast.unparse(tree) == "def f(a, b, c):\n    return a - b / c"
    assert tried["(a - b) / c"] == "edit-parentheses"
    assert tried["a + b / c"] == tried["a - b * c"] == tried["a - a / c"] == "edit-wrong"
    assert tried["b / c - a"] == tried["a - c / b"] == "edit-exchanged"
    assert tried["a - (b - c)"] == tried["a - a"] == "edit-wrong"
    assert tried["a"] == tried["a - b"] == "edit-extra"
    assert tried["a - b / c ** 2"] == tried["a - b / c * b"] == tried["1 - (a - b / c)"] == "edit-missing"


def test_a_variance_in_one_pass_is_a_remark_that_costs_nothing(written):
    report = check_batch_norm(written(TEXT, ("np.mean(centred**2, axis=0)", "np.mean(x**2, axis=0) - mean**2")))
    assert report.ok, report.text
    assert report.points == report.possible
    assert [each.code for each in report.remarks] == ["one-pass-variance"]
    assert "float64, mean 1e+06" in report.remarks[0].what


# What was not named, or not in one piece, in files that nobody here had seen.
SEEN_ELSEWHERE = [
    (
        "mean = x.mean(axis=0)",
        "mean = np.median(x, axis=0)",
        {"training": "median-for-mean", "statistics": "median-for-mean"},
    ),
    (
        "mean = x.mean(axis=0)",
        "mean = x.sum(axis=0) / x.size",
        {"training": "divided-by-elements", "statistics": "divided-by-elements"},
    ),
    (
        "var = np.mean(centred**2, axis=0)",
        "var = np.sum(centred**2, axis=0) / x.size",
        {"training": "divided-by-elements", "statistics": "divided-by-elements"},
    ),
    ("np.sqrt(old_var + eps)", "(np.sqrt(old_var + eps) + eps)", {"test": "epsilon-twice"}),
    (
        "np.sqrt(var + eps)",
        "np.sqrt(var / len(x) + eps)",
        {"training": "variance-averaged-twice"},
    ),
    (
        "(along - first - second) / spread",
        "dout * gamma / spread - dout.sum(axis=0) - hat * (dout * hat).sum(axis=0)",
        {"backward": "direct-alone-scaled"},
    ),
    ("gamma * hat + beta\n    bn", "gamma[0] * hat + beta\n    bn", {"training": "some-features"}),
    ("along.sum(axis=0) / n", "along.sum() / n", {"backward": "features-mixed-in-dx"}),
]


@pytest.mark.parametrize(("old", "new", "codes"), SEEN_ELSEWHERE, ids=[each[1][:40] for each in SEEN_ELSEWHERE])
def test_it_is_one_finding(written, old, new, codes):
    report = check_batch_norm(written(TEXT, (old, new)))
    assert {each.part: each.code for each in report.findings} == codes, report.text
    assert len(report.findings) == len(codes)


def test_a_floor_under_the_variance_is_one_slip_of_both_modes(written):
    floor = ("np.sqrt(var + eps)", "np.sqrt(np.maximum(var, eps))"), ("old_var + eps", "np.maximum(old_var, eps)")
    report = check_batch_norm(written(TEXT, *floor))
    assert {each.code for each in report.findings if each.part in ("training", "test")} == {"epsilon-as-floor"}


IMAGES = """

def spatial_batchnorm_forward(x, gamma, beta, bn_param):
    wide = (1, x.shape[1], 1, 1)
    mean = x.mean(axis=(0, 2, 3))
    var = x.var(axis=(0, 2, 3))
    hat = (x - mean.reshape(wide)) / np.sqrt(var.reshape(wide) + bn_param["eps"])
    return gamma.reshape(wide) * hat + beta.reshape(wide), None
"""


@pytest.mark.parametrize(
    ("variance", "code"),
    [
        ("x.var(axis=(2, 3)).mean(axis=0)", "variance-within-images"),
        ("x.mean(axis=(2, 3)).var(axis=0)", "variance-between-images"),
        ("x.var(axis=(0, 2, 3)) * len(x)", "images-not-averaged"),
    ],
)
def test_a_variance_of_images_in_two_steps(written, variance, code):
    report = check_batch_norm(written(TEXT + IMAGES, ("x.var(axis=(0, 2, 3))", variance)))
    assert [each.code for each in report.findings if each.part == "spatial"] == [code], report.text


def test_an_average_alone_that_is_divided_by_all_elements(written):
    change = ("(1 - momentum) * mean", "(1 - momentum) * x.sum(axis=0) / x.size")
    assert [each.code for each in check_batch_norm(written(TEXT, change)).findings] == ["divided-by-elements-stored"]
