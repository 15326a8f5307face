"""Every way to call the operations wrongly: what is changed in a right call, and what the error must say."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

SHAPE, FEATURES = (4, 3, 2), (3,)

POSITIONAL = {
    "moments": ("x",),
    "batch_norm_training": ("x", "scale", "offset"),
    "batch_norm_gradient": ("x", "scale", "mean", "variance", "dy"),
    "batch_norm_gradient_sums": ("x", "mean", "variance", "dy"),
    "batch_norm_gradient_from_sums": ("x", "scale", "mean", "variance", "dy", "sums"),
    "batch_norm_inference": ("x", "scale", "offset", "mean", "variance"),
    "batch_norm_inference_gradient": ("x", "scale", "mean", "variance", "dy"),
}
OPTIONS = ("feature_axis", "epsilon", "mask", "out")
WITHOUT_OUT = ("moments", "batch_norm_gradient_sums")
# The operations that normalize a batch with its own statistics: of nothing there are none.
OF_A_WHOLE_BATCH = ("batch_norm_training", "batch_norm_gradient")


class Bad(NamedTuple):
    """Arguments that replace those of a right call, and the error that names argument, rule and value."""

    changes: dict[str, Any]
    error: type[Exception]
    words: tuple[str, ...]


class Odd:
    """Prints as <odd> and is no number, no array of numbers."""

    def __repr__(self):
        return "<odd>"


def f32(*shape):
    return np.ones(shape, np.float32)


def wrong_dtypes(name):
    """`name` in every kind of dtype that is not taken."""
    size = SHAPE if name in ("x", "dy") else FEATURES
    rows = {
        "int64": np.ones(size, np.int64),
        "int32": np.ones(size, np.int32),
        "uint8": np.ones(size, np.uint8),
        "bool": np.ones(size, bool),
        "complex128": np.ones(size, np.complex128),
        "complex64": np.ones(size, np.complex64),
        "object": np.full(size, Odd(), object),
        "<U1": np.full(size, "a"),
        str(np.dtype(np.longdouble)): np.ones(size, np.longdouble),
    }
    if np.dtype(np.longdouble) == np.float64:
        del rows["float64"]
    return {
        f"{name} {got}": Bad({name: v}, TypeError, (name, "float16, bfloat16, float32 or float64", got))
        for got, v in rows.items()
    }


def wrong_shapes(name):
    rows = {"of another length": f32(4), "a matrix": f32(1, 3), "a number": np.float32(2.0), "empty": f32(0)}
    return {
        f"{name} {what}": Bad({name: v}, ValueError, (f"{name} must have the shape", "(3,)", str(np.shape(v))))
        for what, v in rows.items()
    }


def empty(*shape):
    arrays = {name: f32(*shape) for name in ("x", "dy", "out")}
    return Bad(arrays, ValueError, ("x must have at least one element per feature", "count 0", str(shape)))


AXES = {
    "beyond the rank": Bad({"feature_axis": 3}, ValueError, ("feature_axis", "[-3, 3)", "3")),
    "below the rank": Bad({"feature_axis": -4}, ValueError, ("feature_axis", "[-3, 3)", "-4")),
    "one of several out of range": Bad({"feature_axis": (0, 5)}, ValueError, ("feature_axis", "[-3, 3)", "(0, 5)")),
    "twice": Bad({"feature_axis": (1, 1)}, ValueError, ("feature_axis", "twice", "(1, 1)")),
    "twice by another name": Bad({"feature_axis": (1, -2)}, ValueError, ("feature_axis", "twice", "(1, -2)")),
    "none": Bad({"feature_axis": ()}, ValueError, ("feature_axis", "at least one", "empty tuple")),
    "all": Bad({"feature_axis": (0, 1, 2)}, ValueError, ("feature_axis", "at least one axis to reduce", "(0, 1, 2)")),
    "a float": Bad({"feature_axis": 1.0}, TypeError, ("feature_axis", "int", "1.0")),
    "a bool": Bad({"feature_axis": True}, TypeError, ("feature_axis", "int", "True")),
    "None": Bad({"feature_axis": None}, TypeError, ("feature_axis", "int", "None")),
    "a word": Bad({"feature_axis": "last"}, TypeError, ("feature_axis", "int", "'last'")),
    "bytes": Bad({"feature_axis": b"\1"}, TypeError, ("feature_axis", "int", "x01")),
    "a view of numbers": Bad(
        {"feature_axis": memoryview(np.ones((2, 2)))}, TypeError, ("feature_axis", "int", "memory")
    ),
    "a float in a tuple": Bad({"feature_axis": (0, 1.5)}, TypeError, ("feature_axis", "int", "(0, 1.5)")),
}
X = {
    "a number": Bad({"x": np.float32(1)}, ValueError, ("x must have rank 2", "()")),
    "a vector": Bad({"x": f32(4)}, ValueError, ("x must have rank 2", "(4,)")),
    "None": Bad({"x": None}, TypeError, ("x must be float16, bfloat16, float32 or float64", "object")),
    "a word": Bad({"x": "data"}, TypeError, ("x must be", "<U4")),
    "masked array": Bad({"x": np.ma.masked_array(f32(*SHAPE))}, TypeError, ("x must be", "mask=")),
    **wrong_dtypes("x"),
}
NOTHING = {
    "no rows": empty(0, 3, 2),
    "no pixels": empty(4, 3, 0),
    "all False": Bad({"mask": np.zeros((4, 2), bool)}, ValueError, ("unmasked", "0", str(SHAPE))),
    "False": Bad({"mask": np.zeros((1, 1, 1), bool)}, ValueError, ("unmasked", "0", str(SHAPE))),
    "all 0": Bad({"mask": np.zeros((4, 2), np.int8)}, ValueError, ("unmasked", "0", str(SHAPE))),
}
MASK = {
    "of words": Bad({"mask": np.full((4, 2), "a")}, TypeError, ("mask must be boolean", "<U1")),
    "complex": Bad({"mask": np.ones((4, 2), complex)}, TypeError, ("mask must be boolean", "complex128")),
    "of counts": Bad({"mask": np.full((4, 2), 2)}, ValueError, ("mask must be boolean", "zeros and ones", "2")),
    "of weights": Bad({"mask": np.full((4, 2), 0.5)}, ValueError, ("mask must be boolean", "zeros and ones", "0.5")),
    "of NaN": Bad({"mask": np.full((4, 2), np.nan)}, ValueError, ("mask must be boolean", "zeros and ones", "nan")),
    "a masked array": Bad({"mask": np.ma.array(np.ones((4, 2), bool))}, TypeError, ("mask must be", "MaskedArray")),
    "along the features": Bad({"mask": np.ones(SHAPE, bool)}, ValueError, ("mask must broadcast", "(4, 3, 2)")),
    "transposed": Bad({"mask": np.ones((2, 4), bool)}, ValueError, ("mask must broadcast", "(4, 2)", "(2, 4)")),
    "a vector": Bad({"mask": np.ones(4, bool)}, ValueError, ("mask must broadcast", "(4,)")),
    "of a higher rank": Bad({"mask": np.ones((1, 4, 1, 2), bool)}, ValueError, ("mask must broadcast", "(1, 4, 1, 2)")),
    "of three rows": Bad({"mask": np.ones((3, 1, 2), bool)}, ValueError, ("mask must broadcast", "(3, 1, 2)")),
    "a bare bool": Bad({"mask": True}, ValueError, ("mask must broadcast", "()")),
}
EPSILON = {
    "negative": Bad({"epsilon": -1e-9}, ValueError, ("epsilon", "not negative", "-1e-09")),
    "infinite": Bad({"epsilon": float("inf")}, ValueError, ("epsilon", "finite", "inf")),
    "NaN": Bad({"epsilon": float("nan")}, ValueError, ("epsilon", "finite", "nan")),
    "a word": Bad({"epsilon": "small"}, TypeError, ("epsilon", "number", "'small'")),
    "None": Bad({"epsilon": None}, TypeError, ("epsilon", "number", "None")),
    "complex": Bad({"epsilon": 1j}, TypeError, ("epsilon", "number", "1j")),
    "a bool": Bad({"epsilon": True}, TypeError, ("epsilon", "number", "True")),
    "an array": Bad({"epsilon": f32(3)}, TypeError, ("epsilon", "number", "array")),
}
PARAMETERS = {name: {**wrong_shapes(name), **wrong_dtypes(name)} for name in ("scale", "offset")}
STATISTICS = {
    name: {
        **wrong_shapes(name),
        **wrong_dtypes(name),
        f"{name} None": Bad({name: None}, TypeError, (name, "(3,)", "None")),
    }
    for name in ("mean", "variance")
}
DY = {
    "of another shape": Bad({"dy": f32(4, 3, 1)}, ValueError, ("dy must have the shape of x", str(SHAPE), "(4, 3, 1)")),
    "transposed": Bad({"dy": f32(2, 3, 4)}, ValueError, ("dy must have the shape of x", str(SHAPE), "(2, 3, 4)")),
    "a number": Bad({"dy": np.float32(1)}, ValueError, ("dy must have the shape of x", str(SHAPE), "()")),
    "wider than x": Bad({"dy": np.ones(SHAPE)}, TypeError, ("dy must have the dtype of x", "float32", "float64")),
    "narrower than x": Bad(
        {"dy": np.ones(SHAPE, np.float16)}, TypeError, ("dy must have the dtype of x", "float32", "float16")
    ),
    "None": Bad({"dy": None}, TypeError, ("dy must be float16, bfloat16, float32 or float64", "object")),
    **wrong_dtypes("dy"),
}
OUT = {
    "of another shape": Bad(
        {"out": f32(4, 2, 3)}, ValueError, ("out must have the shape of x", str(SHAPE), "(4, 2, 3)")
    ),
    "wider than x": Bad({"out": np.ones(SHAPE)}, TypeError, ("out must have the dtype of x", "float32", "float64")),
    "a list": Bad({"out": [1.0]}, TypeError, ("out must be a numpy array", "list")),
    "a masked array": Bad({"out": np.ma.array(f32(*SHAPE))}, TypeError, ("out must be a plain array", "MaskedArray")),
}

SUMS = {
    "a list": Bad({"sums": [8, f32(3), f32(3)]}, TypeError, ("sums must be GradientSums", "list")),
    "two of three": Bad({"sums": (8, f32(3))}, TypeError, ("sums must be GradientSums", "tuple")),
    "None": Bad({"sums": None}, TypeError, ("sums must be GradientSums", "NoneType")),
    "a float count": Bad({"sums": (8.0, f32(3), f32(3))}, TypeError, ("sums.count must be an int", "8.0")),
    "a negative count": Bad({"sums": (-1, f32(3), f32(3))}, ValueError, ("sums.count must not be negative", "-1")),
    "of fewer elements": Bad({"sums": (7, f32(3), f32(3))}, ValueError, ("sums.count", "the 8 of this part", "got 7")),
    "of other features": Bad({"sums": (8, f32(4), f32(4))}, ValueError, ("sums must have the shape", "(3,)", "(4,)")),
    "of two shapes": Bad({"sums": (8, f32(3), f32(4))}, ValueError, ("must have one shape", "(3,)", "(4,)")),
    "of ints": Bad({"sums": (8, np.ones(3, int), f32(3))}, TypeError, ("sums.dy must be float16", "int64")),
}

GROUPS = {
    "feature_axis": AXES,
    "x": X,
    "mask": MASK,
    "epsilon": EPSILON,
    "dy": DY,
    "out": OUT,
    "sums": SUMS,
    "nothing": NOTHING,
    **PARAMETERS,
    **STATISTICS,
}

ROWS = {
    f"{operation}: {group}: {what}": (operation, bad)
    for operation, positional in POSITIONAL.items()
    for group, rows in GROUPS.items()
    if group in (*positional, "feature_axis", "mask")
    or (group == "epsilon" and operation != "moments")
    or (group == "out" and operation not in WITHOUT_OUT)
    or (group == "nothing" and operation in OF_A_WHOLE_BATCH)
    for what, bad in rows.items()
}

MOMENTS = (2, np.array([1.0, 2.0]), np.array([0.5, 0.25]))

MERGE_ROWS = {
    "no tuple": ([1, 2, 3], TypeError, ("must be Moments", "list")),
    "two of three": ((1, np.ones(2)), TypeError, ("must be Moments", "tuple")),
    "a None": (None, TypeError, ("must be Moments", "NoneType")),
    "a float count": ((2.0, np.ones(2), np.ones(2)), TypeError, ("count must be an int", "2.0")),
    "a bool count": ((True, np.ones(2), np.ones(2)), TypeError, ("count must be an int", "True")),
    "a vector of counts": ((np.array([1, 2]), np.ones(2), np.ones(2)), TypeError, ("count must be an int", "array")),
    "a negative count": ((-1, np.ones(2), np.ones(2)), ValueError, ("count must not be negative", "-1")),
    "means of ints": ((1, np.ones(2, int), np.ones(2)), TypeError, ("mean must be float16", "int64")),
    "complex variances": ((1, np.ones(2), np.ones(2, complex)), TypeError, ("variance must be float16", "complex128")),
    "two shapes": ((1, np.ones(2), np.ones(3)), ValueError, ("must have one shape", "(2,)", "(3,)")),
    "other features": ((1, np.ones(3), np.ones(3)), ValueError, ("same features", "(2,)", "(3,)")),
}


def right_call(operation):
    """Positional arguments and options that work, fresh."""
    rng = np.random.default_rng(1)
    x = rng.normal(1, 2, SHAPE).astype(np.float32)
    values = {
        "x": x,
        "scale": f32(3),
        "offset": f32(3),
        "mean": np.ones(3),
        "variance": np.ones(3),
        "dy": rng.normal(size=SHAPE).astype(np.float32),
        "sums": (8, np.ones(3), np.ones(3)),
    }
    positional = {name: values[name] for name in POSITIONAL[operation]}
    options = {"feature_axis": 1, "mask": None, "epsilon": 1e-3, "out": np.full(SHAPE, 99, np.float32)}
    left_out = {"moments": ("epsilon", "out"), "batch_norm_gradient_sums": ("out",)}.get(operation, ())
    return positional, {name: value for name, value in options.items() if name not in left_out}


def call(kernels, operation, changes):
    """A right call with some arguments replaced; returns every argument and a function that calls."""
    positional, options = right_call(operation)
    for name, value in changes.items():
        target = options if name in OPTIONS else positional
        if name in target:
            target[name] = value
    everything = [*positional.values(), *options.values()]
    return everything, lambda: getattr(kernels, operation)(*positional.values(), **options)
