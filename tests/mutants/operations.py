"""Wrong batch normalizations: the reference with one thing changed, each of which the suite must refuse.

A mutant is a piece of the source and what stands there instead.  A piece that is no longer there is a
LookupError, so that a rewritten reference cannot lose its mutants unseen.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from pybn import arguments, reference


class Mutant(NamedTuple):
    """`old`, in its nth occurrence in the module's source, becomes `new`."""

    what: str
    old: str
    new: str
    nth: int = 0
    module: ModuleType = reference


def build(mutant):
    """The reference as a module of its own, with the mutation; None: unchanged, the control."""
    checked, computed = (_copy(module, mutant) for module in (arguments, reference))
    computed.arguments = checked
    return computed


def _copy(module, mutant):
    source = Path(module.__file__).read_text(encoding="utf-8")
    if mutant is not None and mutant.module is module:
        source = mutated(source, mutant)
    copy = ModuleType(f"mutant_of_{module.__name__}")
    exec(compile(source, module.__file__, "exec"), copy.__dict__)
    return copy


def mutated(source, mutant):
    """The source with one occurrence replaced; LookupError if it is not there."""
    pieces = source.split(mutant.old)
    if len(pieces) < mutant.nth + 2:
        raise LookupError(f"mutant {mutant.what!r}: {mutant.old!r} is not in the source {mutant.nth + 1} times")
    before, after = mutant.old.join(pieces[: mutant.nth + 1]), mutant.old.join(pieces[mutant.nth + 1 :])
    return before + mutant.new + after


PLAIN_SUM = "np.sum({}, axis=batch.reduced_axes, keepdims=True)"
VARIANCE = "variance = _sum(centred**2, batch) / batch.count"
ROOT = "1 / np.sqrt(variance + epsilon))"
LINE_4 = "y = gamma * normalized + beta"
DX = "dx = gamma * part.inverse_deviation * (part.dy - doffset / count - part.normalized * dscale / count)"
INFERENCE_DX = "dx = gamma * part.inverse_deviation * part.dy"
FIRST = "first = _first_element(batch)"
SHIFTED = "shifted = batch.x / unit - first"
MEAN_GIVEN = "_per_feature(mean * unit, batch), _per"
INFERENCE_NORMALIZED = "normalized = (batch.x - mean64) * _inverse_deviation(variance64, epsilon)"
KEEP_DX = "return _keep_padding(dx, part.dy, batch)"
INFERENCE_KEEP_DX = "dx = _keep_padding(dx, part.dy, batch)"
DSCALE = "dscale = _sum(part.dy * part.normalized, batch)"
DOFFSET = "doffset = _sum(part.dy, batch)"
COUNT = "batch, count = part.batch, sums.count\n"
WITHIN = "a.variance * (a.count / count) + b.variance * (b.count / count)"
BETWEEN = "4 * (half * (a.count / count)) * (half * (b.count / count))"
MERGED_MEAN = "2 * (half * (b.count / count))"
UNIT = "np.isfinite(largest) & (largest > 0) & (np.abs(exponent) > 450), exponent, 0"

MUTANTS = (
    # --- the statistics
    Mutant("sample variance, n - 1 for n", VARIANCE, VARIANCE + " * batch.count / max(batch.count - 1, 1)"),
    Mutant("standard deviation for the variance", VARIANCE, VARIANCE.replace("= ", "= np.sqrt(") + ")"),
    Mutant("variance not centred", VARIANCE, "variance = _sum(shifted**2, batch) / batch.count"),
    Mutant(
        "one-pass variance, E[x^2] - E[x]^2",
        VARIANCE,
        "variance = _sum(batch.x.astype(float)**2, batch) / batch.count - (first + shifted_mean)**2",
    ),
    Mutant("mean absolute deviation for the root", VARIANCE, "variance = (_sum(abs(centred), batch) / batch.count)**2"),
    Mutant(
        "first element not subtracted",
        FIRST,
        "first = 0.0 * np.nan_to_num(_first_element(batch))",
    ),
    Mutant(
        "first element taken under the mask", "if batch.mask is None else batch.mask\n    position", "\n    position"
    ),
    Mutant("first element not added again", "return centred, first + shifted_mean", "return centred, shifted_mean"),
    Mutant("float32 sums", "np.sum(values,", "np.sum(values, dtype=np.float32,"),
    Mutant("NaN left out of the sums", "np.sum(values,", "np.nansum(values,"),
    Mutant("mask ignored in every sum", "where = True if batch.mask is None else batch.mask\n    return", "return"),
    Mutant("mask ignored in the mean's sum", "_sum(shifted, batch)", PLAIN_SUM.format("shifted")),
    Mutant("mask ignored in the variance's sum", "_sum(centred**2, batch)", PLAIN_SUM.format("centred**2")),
    Mutant(
        "statistics in x's type",
        MEAN_GIVEN,
        "_per_feature(mean * unit, batch).astype(batch.x.dtype), _per",
    ),
    Mutant(
        "x shifted in place",
        SHIFTED,
        "shifted = np.subtract(batch.x / unit, first, out=batch.x, casting='unsafe')",
    ),
    # --- numbers whose squares float64 cannot hold
    Mutant("no unit for large and small numbers", UNIT, "False, exponent, 0"),
    Mutant("no unit for large numbers", UNIT, UNIT.replace("np.abs(exponent)", "-exponent")),
    Mutant("no unit for small numbers", UNIT, UNIT.replace("np.abs(exponent)", "exponent")),
    Mutant("mean left in its unit", MEAN_GIVEN, "_per_feature(mean, batch), _per"),
    Mutant("variance left in its unit", "variance * unit * unit", "variance * unit"),
    Mutant("epsilon left in its unit", "epsilon / unit / unit", "epsilon"),
    # --- epsilon
    Mutant("epsilon outside the root", ROOT, "1 / (np.sqrt(variance) + epsilon))"),
    Mutant("epsilon squared", ROOT, "1 / np.sqrt(variance + epsilon**2))"),
    Mutant("epsilon left out", ROOT, "1 / np.sqrt(variance))"),
    Mutant("epsilon as a floor", ROOT, "1 / np.sqrt(np.maximum(variance, epsilon)))"),
    Mutant("no root", ROOT, "1 / (variance + epsilon))"),
    Mutant("0 under the root not guarded", "np.where(variance + epsilon == 0, 0.0,", "np.where(False, 0.0,"),
    Mutant(
        "another default of epsilon",
        "offset, *, feature_axis=-1, epsilon=1e-3",
        "offset, *, feature_axis=-1, epsilon=1e-5",
    ),
    # --- the output
    Mutant("offset forgotten in training", LINE_4, "y = gamma * normalized"),
    Mutant("offset inside the scale in training", LINE_4, "y = gamma * (normalized + beta)"),
    Mutant("scale forgotten in training", LINE_4, "y = normalized + beta"),
    Mutant("offset forgotten in inference", LINE_4, "y = gamma * normalized", 1),
    Mutant("scale forgotten in inference", LINE_4, "y = normalized + beta", 1),
    Mutant("mean forgotten in inference", "normalized = (batch.x - mean64)", "normalized = batch.x"),
    Mutant(
        "inference folded to a * x + b",
        INFERENCE_NORMALIZED,
        "a = _inverse_deviation(variance64, epsilon)\n    normalized = (batch.x * a - mean64 * a)",
    ),
    Mutant(
        "padding of y dropped in training", "y = _keep_padding(y, batch.x, batch)", "y = _keep_padding(y, 0.0, batch)"
    ),
    Mutant("padding normalized in inference", "_keep_padding(y, batch.x, batch), batch, out", "y, batch, out"),
    Mutant("y in float64 always", "result = halves.rounded(result, batch.x.dtype)", "result = np.asarray(result)"),
    Mutant("out ignored", "if out is None:", "if True:"),
    Mutant("a copy of out returned", "    return out\n", "    return out.copy()\n"),
    # --- the gradient of training
    Mutant("mean path dropped", DX, DX.replace("- doffset / count ", "")),
    Mutant("variance path dropped", DX, DX.replace("- part.normalized * dscale / count", "")),
    Mutant("both paths dropped", DX, INFERENCE_DX),
    Mutant("variance path of the wrong sign", DX, DX.replace("- part.normalized", "+ part.normalized")),
    Mutant("scale forgotten in dx", DX, DX.replace("gamma * ", "")),
    Mutant("scale squared in dx", DX, DX.replace("gamma *", "gamma * gamma *")),
    Mutant("deviation forgotten in dx", DX, DX.replace("part.inverse_deviation * ", "")),
    Mutant("batch size for the count", COUNT, "batch, count = part.batch, part.batch.x.shape[0]\n"),
    Mutant("n - 1 in the gradient", COUNT, "batch, count = part.batch, max(sums.count - 1, 1)\n"),
    Mutant("masked elements counted", COUNT, "batch, count = part.batch, part.dy.size // max(sums.dy.size, 1)\n"),
    Mutant("gradient wrong by 0.05 %", DX, DX.replace("gamma *", "1.0005 * gamma *")),
    Mutant("mask ignored in doffset", DOFFSET, "doffset = " + PLAIN_SUM.format("part.dy")),
    Mutant("mask ignored in dscale", DSCALE, "dscale = " + PLAIN_SUM.format("part.dy * part.normalized")),
    Mutant("dscale from x", DSCALE, "dscale = _sum(part.dy * batch.x, batch)"),
    Mutant("infinity left in dx", "np.isfinite(doffset) & np.isfinite(dscale)", "True"),
    Mutant("the part's count in its dx", COUNT, "batch, count = part.batch, max(part.batch.count, 1)\n"),
    Mutant("sums of a narrower type", "sums.dy.astype(dtype)", "sums.dy.astype(batch.x.dtype)"),
    Mutant("dscale of a narrower type", "sums.dy_normalized.astype(dtype)", "sums.dy_normalized.astype(batch.x.dtype)"),
    Mutant("a part's dx summed over it alone", "_from_sums(part, gamma, sums), batch, out)", "sums, batch, out)"),
    Mutant(
        "parameter gradients averaged", "_per_feature(doffset, batch)", "_per_feature(doffset / batch.count, batch)"
    ),
    Mutant("padding of dx is 0", KEEP_DX, "return _keep_padding(dx, 0.0, batch)"),
    Mutant("padding of dx is x", KEEP_DX, "return _keep_padding(dx, batch.x, batch)"),
    Mutant("dscale without a scale", "None if scale is None else", "None if False else"),
    # --- the gradient of inference
    Mutant("mean path in inference", INFERENCE_DX + "\n", INFERENCE_DX + " - _sum(part.dy, batch) / batch.count\n"),
    Mutant("scale forgotten in inference's dx", INFERENCE_DX + "\n", "dx = part.inverse_deviation * part.dy\n"),
    Mutant("deviation forgotten in inference's dx", INFERENCE_DX + "\n", "dx = gamma * part.dy\n"),
    Mutant("padding of inference's dx is 0", INFERENCE_KEEP_DX, "dx = _keep_padding(dx, 0, batch)"),
    # --- merging
    Mutant("weights swapped in the merged mean", MERGED_MEAN, "2 * (half * (a.count / count))"),
    Mutant("merged mean of means", MERGED_MEAN, "half"),
    Mutant("merged from the lighter one", "if a.count < b.count:", "if a.count > b.count:"),
    Mutant("difference of the means not halved", MERGED_MEAN, "(b.mean - a.mean) * (b.count / count)"),
    Mutant(
        "weights swapped in the merged variance",
        WITHIN,
        "a.variance * (b.count / count) + b.variance * (a.count / count)",
    ),
    Mutant("nothing merged as one more", "if b.count == 0:", "if a.count == 0:"),
    Mutant("the wrong side is nothing", "Moments(a.count, a.mean.copy()", "Moments(a.count, b.mean.copy()"),
    Mutant("difference of the means left out", "within + between", "within"),
    Mutant("difference of the means not squared", BETWEEN, "2 * abs(half) * (a.count / count) * (b.count / count)"),
    Mutant("merged by n - 1", BETWEEN, BETWEEN + " * count / max(count - 1, 1)"),
    # --- the checks
    Mutant(
        "feature axes not sorted",
        "return tuple(sorted(axes))",
        "return tuple(int(axis) % ndim for axis in given)",
        module=arguments,
    ),
    Mutant("axis out of range by one", "<= int(axis) < ndim", "<= int(axis) <= ndim", module=arguments),
    Mutant(
        "broadcast mask counted once",
        "int(np.count_nonzero(mask)) * spread",
        "int(np.count_nonzero(mask))",
        module=arguments,
    ),
    Mutant("mask of weights taken", "if other.size:", "if False:", module=arguments),
    Mutant("masked mask taken", "isinstance(mask, np.ma.MaskedArray)", "False", module=arguments),
    Mutant("empty batch taken", "if found.count == 0:", "if False:", module=arguments),
    Mutant("sums of a part taken for the whole", "if sums.count < max(batch.count, 1):", "if False:", module=arguments),
    Mutant("out that overlaps itself", "if nested:", "if True:", module=arguments),
    Mutant(
        "epsilon 0 refused",
        "math.isfinite(number) and number >= 0",
        "math.isfinite(number) and number > 0",
        module=arguments,
    ),
    Mutant("epsilon NaN taken", "math.isfinite(number) and number >= 0", "not number < 0", module=arguments),
    Mutant("overlap not seen", "_overlap(out, array) and", "False and", module=arguments),
    Mutant("x itself refused as out", "other is may_be and", "False and", module=arguments),
    Mutant("any view of x taken as out", "and _same_elements(out, array)", "or True", module=arguments),
    Mutant("dy of another type taken", "if dy.dtype != batch.x.dtype:", "if False:", module=arguments),
    Mutant("out of another type taken", "if out.dtype != x.dtype:", "if False:", module=arguments),
    Mutant(
        "parameters of another shape taken",
        "if array.shape != batch.feature_shape:",
        "if array.size != np.prod(batch.feature_shape):",
        module=arguments,
    ),
    Mutant(
        "ints taken for floats",
        "if native not in ACCEPTED and not halves.is_bfloat16(native):",
        "if native.kind not in 'fiu':",
        module=arguments,
    ),
)
