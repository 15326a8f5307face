"""The gradient check accepts what is right, refuses what is wrong and says how, and what it cannot judge."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from pybn import reference
from pybn.study.gradcheck import CannotJudgeError, check_gradients

EPSILON = 1e-3
SHAPES = {
    "2-D": ((7, 3), (1,)),
    "4-D": ((2, 3, 4, 5), (1,)),
    "4-D, last": ((2, 5, 3, 4), (3,)),
    "square": ((5, 5), (1,)),
    "3-D": ((3, 2, 4), (1,)),
}


def problem(shape=(7, 3), axes=(1,), seed=1, mean=12.0, deviation=2.0):
    rng = np.random.default_rng(seed)
    features = [shape[axis] for axis in axes]
    return [mean + deviation * rng.standard_normal(shape), rng.normal(1, 0.5, features), rng.normal(0, 1, features)]


def forward(axes=(1,), epsilon=EPSILON, kernels=reference):
    def f(x, scale, offset):
        return kernels.batch_norm_training(x, scale, offset, feature_axis=axes, epsilon=epsilon)[0]

    return f


def analytic(f):
    """The same with NumPy's own operations, which take complex numbers."""

    def f(x, scale, offset):
        centred = x - x.mean(0)
        return scale * centred / np.sqrt((centred**2).mean(0) + EPSILON) + offset

    return f


def backward(axes=(1,), wrong="", epsilon=EPSILON):
    """The gradient written out, with one thing wrong in it."""

    def vjp(dy, x, scale, offset):
        reduced = tuple(axis for axis in range(x.ndim) if axis not in axes)
        shape = [size if axis in axes else 1 for axis, size in enumerate(x.shape)]
        n = math.prod(x.shape[axis] for axis in reduced)
        gamma, inverse = scale.reshape(shape), 1 / np.sqrt(x.var(reduced, keepdims=True) + epsilon)
        normalized = (x - x.mean(reduced, keepdims=True)) * inverse
        doffset = dy.sum(reduced, keepdims=True)
        dscale = (dy * normalized).sum(reduced, keepdims=True)
        count = {"batch size": x.shape[0], "n - 1": n - 1}.get(wrong, n)
        mean_path = {"no mean path": 0, "both paths": 0}.get(wrong, 1)
        variance_path = {"no variance path": 0, "both paths": 0, "variance sign": -1, "sample variance": n / (n - 1)}
        dx = dy - mean_path * doffset / count - variance_path.get(wrong, 1) * normalized * dscale / count
        dx *= {"no scale": 1, "scale twice": gamma**2}.get(wrong, gamma) * inverse
        if wrong == "no deviation":
            dx /= inverse
        dx *= {"0.05 %": 1.0005, "sign": -1, "zero": 0, "double": 2, "NaN": np.nan}.get(wrong, 1)
        if wrong == "one element":
            dx.flat[4] *= 1.01
        if wrong == "transposed":
            dx = dx.T
        if wrong == "averaged":
            doffset, dscale = doffset / n, dscale / n
        return dx, dscale.reshape(scale.shape), doffset.reshape(scale.shape)

    return vjp


KINDS = {
    "no mean path": "without the path through the mean",
    "no variance path": "without the path through the variance",
    "both paths": "without the paths through the mean and the variance",
    "variance sign": "path through the variance (a projection on x-hat) of the wrong sign",
    "sample variance": "path through the variance",
    "n - 1": "n - 1 for n",
    "no scale": "factor input 1, which is forgotten",
    "scale twice": "factor input 1, which is there once too often",
    "no deviation": "another factor in each feature",
    "0.05 %": "1.0005 times too large",
    "double": "2 times too large",
    "sign": "of the wrong sign",
    "zero": "zero everywhere",
    "transposed": "transposed",
    "NaN": "not finite",
    "one element": "no simple kind",
}


@pytest.mark.parametrize("name", list(SHAPES))
def test_right_gradient(kernels, name):
    shape, axes = SHAPES[name]
    report = check_gradients(forward(axes, kernels=kernels), problem(shape, axes), vjp=backward(axes))
    assert report.raise_if_wrong() is report
    assert report
    assert [r.name for r in report.inputs] == ["x", "scale", "offset"]
    assert all(r.whole < 1e-6 for r in report.inputs)


@pytest.mark.parametrize("name", ["2-D", "3-D", "square"])
@pytest.mark.parametrize("wrong", list(KINDS))
def test_wrong_gradient(name, wrong):
    shape, axes = SHAPES[name]
    report = check_gradients(forward(axes), problem(shape, axes), vjp=backward(axes, wrong))
    assert not report.ok
    assert not report
    assert [r.ok for r in report.inputs] == [False, True, True]
    assert KINDS[wrong] in report.inputs[0].kind
    with pytest.raises(AssertionError, match="the gradient is wrong"):
        report.raise_if_wrong()


def test_batch_size_for_the_count_in_4d():
    """Right in 2-D, wrong on images: only there the count is not the batch's size."""
    assert check_gradients(forward(), problem(), vjp=backward(wrong="batch size"))
    shape, axes = SHAPES["4-D"]
    report = check_gradients(forward(axes), problem(shape, axes), vjp=backward(axes, "batch size"))
    assert "20 times too large (20, the size of axes (2, 3)" in report.inputs[0].kind


def test_averaged_parameter_gradients():
    report = check_gradients(forward(), problem(), vjp=backward(wrong="averaged"))
    assert [r.ok for r in report.inputs] == [True, False, False]
    assert all("1 / 7, the size of axes (0,)" in r.kind for r in report.inputs[1:])


@pytest.mark.parametrize("wrong", ["no mean path", "no variance path", "no scale", "0.05 %", "sign", "zero"])
@pytest.mark.parametrize("rows", [2, 3])
def test_few_rows(rows, wrong):
    """With 2 rows dx is what epsilon leaves; right is accepted and wrong is not."""
    inputs = problem((rows, 3))
    assert check_gradients(forward(), inputs, vjp=backward())
    assert not check_gradients(forward(), inputs, vjp=backward(wrong=wrong))


# Deviations from 1e-5 to 1e6, a mean a million deviations away, an epsilon that hardly counts.
SCALES = [(12, 1e-3, 1e-3), (12, 1e-3, 1e-12), (0, 1e-5, 1e-12), (1e6, 1, 1e-3), (0, 1e6, 1e-3), (-3, 0.05, 1e-5)]


@pytest.mark.parametrize(("mean", "deviation", "epsilon"), SCALES)
def test_features_of_any_scale(mean, deviation, epsilon):
    inputs = problem(mean=mean, deviation=deviation)
    assert check_gradients(forward(epsilon=epsilon), inputs, vjp=backward(epsilon=epsilon))
    for wrong in ("0.05 %", "no mean path", "no variance path", "no scale"):
        assert not check_gradients(forward(epsilon=epsilon), inputs, vjp=backward(wrong=wrong, epsilon=epsilon)), wrong


def test_features_of_different_scales():
    """Deviations of 5, 0.05 and 0.5 in one array: the step is found for each element."""
    shape, axes = SHAPES["4-D"]
    inputs = problem(shape, axes, deviation=np.array([5, 0.05, 0.5]).reshape(1, 3, 1, 1))
    assert check_gradients(forward(axes), inputs, vjp=backward(axes))


def test_other_seeds_agree():
    for seed in range(5):
        assert check_gradients(forward(), problem(), vjp=backward(), seed=seed)
        assert not check_gradients(forward(), problem(), vjp=backward(wrong="0.05 %"), seed=seed)


def test_complex_step_where_f_is_analytic():
    report = check_gradients(analytic(forward), problem(), vjp=backward())
    assert {r.method for r in report.inputs} == {"complex step"}
    assert all(r.whole < 1e-12 for r in report.inputs)
    assert not check_gradients(analytic(forward), problem(), vjp=backward(wrong="0.05 %"))


def test_a_complex_variance_is_not_trusted():
    """np.var takes |x|^2 of complex numbers: its complex step lacks the path through the variance."""

    def f(x, scale, offset):
        return scale * (x - np.mean(x, 0)) / np.sqrt(np.var(x, 0) + EPSILON) + offset

    report = check_gradients(f, problem(), vjp=backward())
    assert report
    assert report.inputs[0].method == "central differences"


def test_inference(kernels, rng):
    mean, variance = rng.normal(12, 1, 3), rng.uniform(0.5, 2, 3)

    def f(x, scale, offset):
        return kernels.batch_norm_inference(x, scale, offset, mean, variance)

    def vjp(dy, x, scale, offset):
        return kernels.batch_norm_inference_gradient(x, scale, mean, variance, dy)

    assert check_gradients(f, problem(), vjp=vjp)
    assert not check_gradients(f, problem(), vjp=backward())


def test_masked_training(kernels):
    mask = np.array([True, True, False, True, True, False, True])

    def f(x, scale, offset):
        return kernels.batch_norm_training(x, scale, offset, mask=mask)[0]

    def vjp(dy, x, scale, offset):
        _, mean, variance = kernels.batch_norm_training(x, scale, offset, mask=mask)
        return kernels.batch_norm_gradient(x, scale, mean, variance, dy, mask=mask)

    assert check_gradients(f, problem(), vjp=vjp)


# --- what it cannot judge, and misuse -----------------------------------------------------------


def refuse(match, error=CannotJudgeError, f=None, inputs=None, vjp=None, **options):
    with pytest.raises(error, match=match):
        check_gradients(f or forward(), problem() if inputs is None else inputs, vjp=vjp or backward(), **options)


def test_refuses_float32():
    refuse(r"inputs\[0\] must be float64, got float32", TypeError, inputs=[a.astype(np.float32) for a in problem()])
    refuse(r"inputs\[1\] must be float64, got int64", TypeError, inputs=[problem()[0], np.ones(3, int), np.ones(3)])
    refuse("result of f must be float64, got float32", TypeError, f=lambda *a: forward()(*a).astype(np.float32))


@pytest.mark.parametrize(("deviation", "eps"), [(1e-7, 1e-6), (2.0, 30.0), (1e-3, 1e-2)])
def test_refuses_a_step_that_is_not_small(deviation, eps):
    refuse(r"eps must be small.*got eps", f=forward(epsilon=1e-20), inputs=problem(deviation=deviation), eps=eps)


@pytest.mark.parametrize("sum_of", [forward(), analytic(forward)], ids=["differences", "complex step"])
def test_refuses_a_gradient_that_vanishes(sum_of):
    """dy = 1 in disguise: the sum of the outputs does not depend on x, and every wrong dx looks as good."""
    for wrong in ("", "no mean path", "no scale"):

        def vjp(dy, x, scale, offset, wrong=wrong):
            return backward(wrong=wrong)(dy * np.ones_like(x), x, scale, offset)

        refuse("input 0 must not vanish", f=lambda *a: sum_of(*a).sum(), vjp=vjp)


def test_refuses_what_changes_its_arguments():
    def in_place(x, scale, offset):
        x -= x.mean(0)
        return x * scale + offset

    def greedy(dy, x, scale, offset):
        dy *= 2
        return backward()(dy, x, scale, offset)

    refuse("f must leave its arguments.*argument 0", f=in_place)
    refuse("vjp must leave its arguments.*argument 0", vjp=greedy)


def test_refuses_what_is_not_finite():
    inputs = problem()
    inputs[0][0, 0] = np.nan
    refuse("f must be finite at the inputs, got 7 NaN", inputs=inputs)


def test_the_inputs_stay_as_they_are():
    inputs = problem()
    before = [a.copy() for a in inputs]
    check_gradients(forward(), inputs, vjp=backward())
    for a, b in zip(inputs, before, strict=True):
        assert (a == b).all()


def test_misuse():
    refuse("at least one array, got none", ValueError, inputs=[])
    refuse("one gradient for each of 3 inputs, got 2", ValueError, vjp=lambda dy, *inputs: backward()(dy, *inputs)[:2])
    refuse("eps must be finite and positive, got 0", ValueError, eps=0)
    for name in ("atol", "rtol"):  # within infinity everything is right
        for value in (np.nan, np.inf, -1e-3):
            refuse(f"{name} must be finite and not negative, got {value}", ValueError, **{name: value})


def test_an_input_that_does_not_matter():
    """Its gradient is known to be 0: None and zeros are right, anything else is not."""
    a, b = np.array([1.0, 2.0]), np.array([3.0, 4.0])
    assert check_gradients(lambda a, b: a**2, [a, b], vjp=lambda dy, a, b: (2 * a * dy, None))
    assert not check_gradients(lambda a, b: a**2, [a, b], vjp=lambda dy, a, b: (2 * a * dy, dy))


def test_one_input_may_return_a_bare_array():
    x = np.array([[0.5, -1.0]])
    assert check_gradients(np.exp, [x], vjp=lambda dy, x: dy * np.exp(x))


# --- the report ---------------------------------------------------------------------------------


def test_text_names_the_place_and_both_values():
    report = check_gradients(forward(), problem(), vjp=backward(wrong="one element"))
    (x, _, _) = report.inputs
    assert x.index == (1, 1)
    assert math.isclose(x.given, 1.01 * x.numeric, rel_tol=1e-5)
    assert "worst at [1, 1]" in report.text
    assert f"{x.given:.6g}" in report.text
    assert f"{x.numeric:.6g}" in report.text
    assert str(report) == report.text


def test_report_for_a_script_and_for_a_notebook():
    report = check_gradients(forward(), problem(), vjp=backward(wrong="sign"))
    data = json.loads(json.dumps(report.to_dict()))
    assert (data["ok"], data["seed"]) == (False, 0)
    assert [one["ok"] for one in data["inputs"]] == [False, True, True]
    assert data["inputs"][0]["kind"] == "of the wrong sign"
    page = report._repr_html_()
    assert page.count("<tr>") == 4
    assert "wrong: of the wrong sign" in page


def test_data_from_the_seed_of_the_check_is_no_trap():
    def f(x):
        return reference.batch_norm_training(x, None, None)[0]

    def without_variance_path(dy, x):
        _, _, variance = reference.batch_norm_training(x, None, None)
        inverse = 1 / np.sqrt(variance + EPSILON)
        return (inverse * (dy - dy.mean(axis=0)),)

    x = np.random.default_rng(3).standard_normal((7, 3))
    report = check_gradients(f, [x], vjp=without_variance_path, seed=3)
    assert not report.ok
    assert "variance" in report.text


def test_the_worst_element_is_a_wrong_one_where_nothing_is_allowed():
    """0 / 0 of the right elements would be the largest."""

    def f(x):
        return np.append(x[:2], 0 * x[2])

    def twice(dy, x):
        return 2 * np.append(dy[:2], [0, 0])

    report = check_gradients(f, [np.arange(1.0, 5.0)], vjp=twice, atol=0, rtol=0)
    assert not report.ok
    assert report.inputs[0].index[0] < 2
