# ruff: noqa: E501  (an edit is a line of source text)
"""Slips typed into right solutions: each an edit of the source text of one of them.

An edit is (solution, changes of its text, what each wrong part may be called); "*" stands for any
name at all.  A part that is not listed must come out right, or as following from one that is.
"""

import inspect

import numpy as np

from tests.support.students import right


def edited(style, *changes):
    """The functions of a right solution after textual changes; each must meet the text it is for."""
    names = {role: function.__name__ for role, function in right.SOLUTIONS[style].items()}
    helpers = {"staged": ("staged_forward", "staged_backward"), "paper": ("paper_forward", "paper_backward")}
    wanted = dict.fromkeys([*helpers.get(style, ()), *names.values()])
    source = "\n\n".join(inspect.getsource(getattr(right, name)) for name in wanted)
    for old, new in changes:
        assert old in source, f"{old!r} is not in the source of {style}"
        source = source.replace(old, new)
    namespace = {"np": np, "math": right.math, "_averages": right._averages}
    exec(compile(source, f"<{style}>", "exec"), namespace)
    return {role: namespace[name] for role, name in names.items()}


EDITS = [
    # training forward
    ("staged", [("np.sqrt(var + eps)", "np.sqrt(var) + eps")], {"training": "epsilon-outside"}),
    ("staged", [("np.sqrt(var + eps)", "np.sqrt(var)")], {"training": "epsilon-missing"}),
    ("staged", [("np.sqrt(var + eps)", "np.sqrt(var + eps + eps)")], {"training": "epsilon-twice"}),
    ("staged", [("np.sqrt(var + eps)", "np.sqrt(var - eps)")], {"training": "epsilon-subtracted"}),
    ("staged", [("np.sqrt(var + eps)", "np.sqrt(var + 1e-8)")], {"training": "epsilon-fixed"}),
    ("staged", [("np.sqrt(var + eps)", "np.sqrt(var + eps**2)")], {"training": "epsilon-squared"}),
    ("staged", [("np.sqrt(var + eps)", "var + eps")], {"training": "no-root"}),
    ("staged", [("xmu**2\n", "x**2\n")], {"training": "variance-uncentred", "statistics": "variance-uncentred"}),
    (
        "staged",
        [("1 / float(n) * np.sum(carre, axis=0)", "np.mean(x**2, axis=0) - mu**2")],
        {"training": "one-pass-variance"},
    ),
    (
        "staged",
        [("var = 1 / float(n) * np.sum(carre", "var = np.sum(carre")],
        {"training": "variance-not-averaged", "statistics": "variance-not-averaged"},
    ),
    ("staged", [("invvar = 1.0 / sqrtvar", "invvar = 1.0 / np.sqrt(sqrtvar)")], {"training": "*"}),
    (
        "staged",
        [("va3 = gamma * va2\n", "va3 = gamma * (va2 + beta)\n"), ("va3 + beta", "va3")],
        {"training": "offset-inside-scale"},
    ),
    ("staged", [("out = va3 + beta", "out = va2")], {"training": "affine-missing"}),
    ("staged", [("out = va3 + beta", "out = va3")], {"training": "offset-missing"}),
    ("staged", [("out = va3 + beta", "out = va3 - beta")], {"training": "offset-subtracted"}),
    ("staged", [("out = va3 + beta", "out = va2 + beta")], {"training": "scale-missing"}),
    ("staged", [("out = va3 + beta", "out = beta * va2 + gamma")], {"training": "affine-exchanged"}),
    (
        "staged",
        [("va2 = xmu * invvar", "va2 = (xmu + beta) * invvar"), ("va3 + beta", "va3")],
        {"training": "offset-before-scale"},
    ),
    ("staged", [("va2 = xmu * invvar", "va2 = x * invvar")], {"training": "mean-not-subtracted"}),
    ("staged", [("va2 = xmu * invvar", "va2 = x - mu * invvar")], {"training": "mean-divided"}),
    ("staged", [("va2 = xmu * invvar", "va2 = xmu * sqrtvar")], {"training": "multiplied-by-deviation"}),
    ("staged", [("va2 = xmu * invvar", "va2 = xmu")], {"training": "not-divided"}),
    (
        "paper",
        [("np.mean(x, axis=0), np.var(x, axis=0)", "np.mean(x), np.var(x)")],
        {"training": "global-mean", "statistics": ("global-mean", "global-variance")},
    ),
    (
        "paper",
        [("np.mean(x, axis=0), np.var(x, axis=0)", "np.mean(x, axis=0), np.mean(x, axis=0)")],
        {"training": "mean-for-variance", "statistics": "other-statistic-stored"},
    ),
    (
        "paper",
        [("np.var(x, axis=0)", "np.std(x, axis=0)")],
        {"training": "deviation-under-root", "statistics": "deviation-under-root"},
    ),
    ("paper", [("np.var(x, axis=0)", "np.var(x, axis=0, ddof=1)")], {"training": "sample-variance"}),
    ("paper", [("** -0.5", "** -1.0")], {"training": "no-root"}),
    ("paper", [("(x - sample_mean) * ", "(x - running_mean) * ")], {"training": "averaged-mean-in-training"}),
    ("paper", [("out = x_hat * gamma + beta", "out = x_hat * np.abs(gamma) + beta")], {"training": "scale-absolute"}),
    ("loops", [("(x[i, j] - mu) ** 2", "abs(x[i, j] - mu)")], {"training": "absolute-deviation", "statistics": "*"}),
    (
        "loops",
        [("math.sqrt(var + eps)", "math.sqrt(var) + eps")],
        {"training": "epsilon-outside", "test": "epsilon-outside"},
    ),
    (
        "loops",
        [("math.sqrt(var + eps)", "math.sqrt(var + 0.001)")],
        {"training": "epsilon-fixed", "test": "epsilon-fixed"},
    ),
    ("loops", [("math.sqrt(var + eps)", "(var + eps)")], {"training": "no-root", "test": "no-root"}),
    # what is stored
    (
        "staged",
        [
            ("momentum * running_mean + (1.0 - momentum) * mu", "(1.0 - momentum) * running_mean + momentum * mu"),
            ("momentum * running_var + (1.0 - momentum) * var", "(1 - momentum) * running_var + momentum * var"),
        ],
        {"statistics": "momentum-swapped"},
    ),
    (
        "staged",
        [("momentum * running_var + (1.0 - momentum) * var", "(1 - momentum) * running_var + momentum * var")],
        {"statistics": "momentum-swapped"},
    ),
    (
        "staged",
        [("momentum * running_var + (1.0", "momentum * running_mean + (1.0")],
        {"statistics": "averages-decay-from-other"},
    ),
    ("staged", [("(1.0 - momentum) * var", "(1.0 - momentum) * (var + eps)")], {"statistics": "epsilon-in-variance"}),
    ("staged", [("(1.0 - momentum) * var", "(1.0 - momentum) * sqrtvar")], {"statistics": "deviation-stored"}),
    ("staged", [("(1.0 - momentum) * var", "(1.0 - momentum) * np.sqrt(var)")], {"statistics": "deviation-stored"}),
    ("staged", [("(1.0 - momentum) * var", "(1.0 - momentum) * invvar")], {"statistics": "inverse-deviation-stored"}),
    ("staged", [("(1.0 - momentum) * var", "(1.0 - momentum) * mu")], {"statistics": "other-statistic-stored"}),
    (
        "staged",
        [
            ("(1.0 - momentum) * var", "(1.0 - momentum) * var * n / (n - 1)"),
            ("running_mean + (1.0 - momentum) * mu", "running_mean + (1.0 - momentum) * mu * 1.0"),
        ],
        {},
    ),
    ("staged", [("(1.0 - momentum) * var", "var"), ("(1.0 - momentum) * mu", "mu")], {"statistics": "momentum-rule"}),
    (
        "staged",
        [('    bn_param["running_mean"] = running_mean\n    bn_param["running_var"] = running_var\n', "")],
        {"statistics": "averages-never-updated"},
    ),
    ("staged", [('    bn_param["running_var"] = running_var\n', "")], {"statistics": "averages-never-updated"}),
    (
        "staged",
        [
            ("momentum * running_mean + (1.0 - momentum) * mu", "mu"),
            ("momentum * running_var + (1.0 - momentum) * var", "var"),
        ],
        {"statistics": "averages-overwritten"},
    ),
    (
        "staged",
        [
            (
                "momentum * running_mean + (1.0 - momentum) * mu\n",
                "momentum * running_mean + (1.0 - momentum) * mu\n        running_mean = momentum * running_mean + (1.0 - momentum) * mu\n",
            )
        ],
        {"statistics": "averages-updated-twice"},
    ),
    (
        "staged",
        [("momentum * running_var + (1.0 - momentum) * var", "0.9 * running_var + 0.1 * var")],
        {"statistics": "momentum-fixed"},
    ),
    (
        "staged",
        [
            (
                "running_var = momentum * running_var + (1.0 - momentum) * var",
                "running_var *= momentum\n        running_var += (1.0 - momentum) * var",
            )
        ],
        {"statistics": "average-in-place"},
    ),
    (
        "paper",
        [
            (
                "np.mean(x, axis=0), np.var(x, axis=0)",
                "np.mean(x, axis=0, keepdims=True), np.var(x, axis=0, keepdims=True)",
            )
        ],
        {"statistics": "average-shape"},
    ),
    # test mode
    ("staged", [("np.sqrt(running_var + eps)", "np.sqrt(running_var)")], {"test": "epsilon-missing"}),
    ("staged", [("np.sqrt(running_var + eps)", "(np.sqrt(running_var) + eps)")], {"test": "epsilon-outside"}),
    ("staged", [("np.sqrt(running_var + eps)", "running_var")], {"test": "no-root"}),
    ("staged", [("np.sqrt(running_var + eps)", "(running_var + eps)")], {"test": "no-root"}),
    ("staged", [("np.sqrt(running_var + eps)", "np.sqrt(running_var**2 + eps)")], {"test": "square-under-root"}),
    (
        "staged",
        [("(x - running_mean) / np.sqrt(running_var + eps)", "x - running_mean / np.sqrt(running_var + eps)")],
        {"test": "mean-divided"},
    ),
    (
        "staged",
        [
            (
                "(x - running_mean) / np.sqrt(running_var + eps)",
                "x - running_mean / np.sqrt(running_var + eps) - running_mean",
            )
        ],
        {"test": "mean-subtracted-twice"},
    ),
    (
        "staged",
        [("(x - running_mean) / np.sqrt(running_var + eps)", "(x - x.mean(0)) / np.sqrt(x.var(0) + eps)")],
        {"test": "batch-statistics-in-test"},
    ),
    (
        "staged",
        [("(x - running_mean) / np.sqrt(running_var + eps)", "(x - running_mean) / np.sqrt(x.var(0) + eps)")],
        {"test": "batch-variance-in-test"},
    ),
    ("staged", [("gamma * xhat + beta, (running_mean", "xhat, (running_mean")], {"test": "affine-missing"}),
    ("staged", [("gamma * xhat + beta, (running_mean", "gamma * xhat, (running_mean")], {"test": "offset-missing"}),
    (
        "staged",
        [
            (
                "        xhat = (x - running_mean)",
                "        running_mean = momentum * running_mean + (1 - momentum) * x.mean(0)\n        running_var = momentum * running_var + (1 - momentum) * x.var(0)\n        xhat = (x - running_mean)",
            )
        ],
        {"test": "test-after-update"},
    ),
    (
        "staged",
        [
            (
                "        xhat = (x - running_mean)",
                "        new = momentum * running_mean + (1 - momentum) * x.mean(0)\n        xhat = (x - new)",
            )
        ],
        {"test": "test-after-update"},
    ),
    (
        "staged",
        [("out, cache = gamma * xhat + beta, (running_mean, running_var)", "out, cache = None, None")],
        {"test": "returned-none"},
    ),
    (
        "paper",
        [("scale = gamma / np.sqrt(running_var + eps)", "scale = gamma / np.sqrt(runing_var + eps)")],
        {"test": "raised"},
    ),
    ("paper", [("scale = gamma / np.sqrt(running_var + eps)", "scale = np.sqrt(running_var + eps)")], {"test": "*"}),
    # one idea in two places
    (
        "staged",
        [("(1.0 - momentum) * var", "(1.0 - momentum) * sqrtvar"), ("np.sqrt(running_var + eps)", "running_var")],
        {"statistics": "deviation-stored"},
    ),
    (
        "staged",
        [
            ("(1.0 - momentum) * var", "(1.0 - momentum) * (var + eps)"),
            ("np.sqrt(running_var + eps)", "np.sqrt(running_var)"),
        ],
        {"statistics": "epsilon-in-variance"},
    ),
    # backward, staged
    (
        "staged",
        [("dx = dx + 1 / float(n) * np.ones((n, d)) * dmu", "dx = dx + 0.0")],
        {"backward": "mean-path-missing"},
    ),
    ("staged", [("dxmu += 2 * xmu * dcarre", "dcarre")], {"backward": "variance-path-missing"}),
    ("staged", [("dmu = -np.sum(dxmu, axis=0)", "dmu = np.sum(dxmu, axis=0)")], {"backward": "mean-path-sign"}),
    ("staged", [("-1.0 / (sqrtvar**2) * dinvvar", "1.0 / (sqrtvar**2) * dinvvar")], {"backward": "variance-path-sign"}),
    ("staged", [("-1.0 / (sqrtvar**2) * dinvvar", "-1.0 / sqrtvar * dinvvar")], {"backward": "variance-path-factor"}),
    ("staged", [("0.5 * 1.0 / sqrtvar", "1.0 / sqrtvar")], {"backward": "variance-path-factor"}),
    ("staged", [("0.5 * 1.0 / sqrtvar", "0.5 * sqrtvar")], {"backward": "variance-path-factor"}),
    (
        "staged",
        [("dcarre = 1 / float(n) * np.ones((n, d)) * dvar", "dcarre = np.ones((n, d)) * dvar")],
        {"backward": "variance-path-factor"},
    ),
    (
        "staged",
        [("dx = dx + 1 / float(n) * np.ones((n, d)) * dmu", "dx = dx + np.ones((n, d)) * dmu")],
        {"backward": "mean-path-factor"},
    ),
    ("staged", [("dva2 = gamma * dva3", "dva2 = dva3")], {"backward": "scale-missing-in-dx"}),
    ("staged", [("dxmu = invvar * dva2", "dxmu = sqrtvar * dva2")], {"backward": "*"}),
    (
        "staged",
        [("dinvvar = np.sum(xmu * dva2, axis=0)", "dinvvar = np.sum(dva2, axis=0)")],
        {"backward": "variance-sum-without-factor"},
    ),
    ("staged", [("dinvvar = np.sum(xmu * dva2, axis=0)", "dinvvar = xmu * dva2")], {"backward": "*"}),
    (
        "staged",
        [("dxmu += 2 * xmu * dcarre", "dxmu += 2 * x * dcarre"), ("gamma, *_ = cache", "gamma, _, x, _ = cache")],
        {},
    ),
    (
        "staged",
        [("dgamma = np.sum(va2 * dva3, axis=0)", "dgamma = np.sum(xmu * dva3, axis=0)")],
        {"backward": "dscale-not-divided"},
    ),
    (
        "staged",
        [
            ("dgamma = np.sum(va2 * dva3, axis=0)", "dgamma = np.sum(x * dva3, axis=0)"),
            ("gamma, *_ = cache", "gamma, _, x, _ = cache"),
        ],
        {"backward": "dscale-from-x"},
    ),
    (
        "staged",
        [("dgamma = np.sum(va2 * dva3, axis=0)", "dgamma = np.sum(dva3, axis=0)")],
        {"backward": "dscale-from-dout"},
    ),
    ("staged", [("dbeta = np.sum(dout, axis=0)", "dbeta = np.mean(dout, axis=0)")], {"backward": "gradients-averaged"}),
    (
        "staged",
        [("dbeta = np.sum(dout, axis=0)", "dbeta = np.sum(dout, axis=0, keepdims=True)")],
        {"backward": "gradient-shape"},
    ),
    ("staged", [("dbeta = np.sum(dout, axis=0)", "dbeta = np.sum(dout)")], {"backward": "gradient-summed-over-all"}),
    ("staged", [("return dx, dgamma, dbeta", "return dx, dbeta, dgamma")], {"backward": "parameters-swapped"}),
    ("staged", [("return dx, dgamma, dbeta", "return -dx, dgamma, dbeta")], {"backward": "dx-sign"}),
    ("staged", [("return dx, dgamma, dbeta", "return dx / n, dgamma, dbeta")], {"backward": "gradients-averaged"}),
    (
        "staged",
        [("return dx, dgamma, dbeta", "return dx * sqrtvar**2, dgamma, dbeta")],
        {"backward": "deviation-power-in-dx"},
    ),
    ("staged", [("return dx, dgamma, dbeta", "return dx, dgamma")], {"backward": "type"}),
    ("staged", [("return dx, dgamma, dbeta", "return None, dgamma, dbeta")], {"backward": "dx-missing"}),
    ("staged", [("return dx, dgamma, dbeta", "return dx[:, :1], dgamma, dbeta")], {"backward": "dx-missing"}),
    ("staged", [("return dx, dgamma, dbeta", "raise NotImplementedError('later')")], {"backward": "unfinished"}),
    (
        "staged",
        [("    n, d = dout.shape\n", "    n, d = dout.shape\n    invvar += 0.1\n")],
        {"backward": "cache-changed"},
    ),
    ("staged", [("    dva3 = dout\n", "    dva3 = dout * dout\n")], {"backward": "not-linear"}),
    ("staged", [("    dva3 = dout\n", "    dva3 = np.ones_like(dout)\n")], {"backward": "dout-ignored"}),
    # backward, the paper's way
    ("paper", [("** -1.5, axis=0)", "** -0.5, axis=0)")], {"backward": "variance-path-factor"}),
    ("paper", [("* -0.5 * (var + eps)", "* (var + eps)")], {"backward": "variance-path-factor"}),
    ("paper", [("* -0.5 * (var + eps)", "* 0.5 * (var + eps)")], {"backward": "variance-path-sign"}),
    ("paper", [("(var + eps) ** -1.5", "var ** -1.5")], {"backward": "*"}),
    ("paper", [("dvar * 2 * (x - mean) / m", "dvar * 2 * (x - mean)")], {"backward": "variance-path-factor"}),
    ("paper", [("dvar * 2 * (x - mean) / m", "dvar * 2 * (mean - x) / m")], {"backward": "variance-path-sign"}),
    ("paper", [("dvar * 2 * (x - mean) / m", "dvar * 2 / m")], {"backward": "variance-path-uncentred"}),
    ("paper", [("+ dmean / m", "+ dmean")], {"backward": "mean-path-factor"}),
    ("paper", [("+ dmean / m", "- dmean / m")], {"backward": "mean-path-sign"}),
    ("paper", [("+ dmean / m", "")], {"backward": "mean-path-missing"}),
    (
        "paper",
        [
            (
                "dx = dxhat / np.sqrt(var + eps) + dvar * 2 * (x - mean) / m + dmean / m",
                "dx = dxhat / np.sqrt(var + eps)",
            )
        ],
        {"backward": "statistics-constant"},
    ),
    ("paper", [("dx = dxhat / np.sqrt(var + eps) + dvar", "dx = dvar")], {"backward": "direct-path-missing"}),
    ("paper", [("dx = dxhat / np.sqrt(var + eps)", "dx = dxhat / (var + eps)")], {"backward": "direct-path-factor"}),
    ("paper", [("dxhat = dout * cache", "dxhat = dout / cache")], {"backward": "scale-power-in-dx"}),
    ("paper", [('cache["v"], cache["e"]', 'cache["v"], 1e-5')], {"backward": "epsilon-fixed"}),
    ("paper", [('cache["v"], cache["e"]', 'cache["v"], 0.0')], {"backward": "epsilon-missing"}),
    (
        "paper",
        [
            (
                "np.sum(dxhat * (x - mean) * -0.5 * (var + eps) ** -1.5, axis=0)",
                "np.sum(dxhat * (x - mean) * -0.5 * (var + eps) ** -1.5)",
            )
        ],
        {"backward": "features-mixed-in-dx"},
    ),
    (
        "paper",
        [("np.sum(dxhat * -1 / np.sqrt(var + eps), axis=0)", "dxhat * -1 / np.sqrt(var + eps)")],
        {"backward": "*"},
    ),
    ("paper", [("np.mean(-2 * (x - mean), axis=0)", "np.sum(x, axis=0)")], {"backward": "*"}),
    (
        "paper",
        [('return dx, np.sum(dout * cache["h"], axis=0)', 'return dx, np.dot(dout.T, cache["h"])')],
        {"backward": "gradient-matrix"},
    ),
    (
        "paper",
        [('return dx, np.sum(dout * cache["h"], axis=0)', 'return dx, np.sum(dout * cache["h"] * cache["g"], axis=0)')],
        {"backward": "parameter-times-scale"},
    ),
    ("paper", [("    m = x.shape[0]\n    dxhat", "    m = x.shape[1]\n    dxhat")], {"backward": "*"}),
    (
        "paper",
        [("    m = x.shape[0]\n    dxhat", "    var += eps\n    m = x.shape[0]\n    dxhat")],
        {"backward": ("cache-changed", "epsilon-twice")},
    ),
    # backward, compact
    (
        "einsum",
        [("n * dout - dbeta - xh * dgamma", "n * dout - dbeta")],
        {"backward": "variance-path-missing", "alternative": "variance-path-missing"},
    ),
    (
        "einsum",
        [("n * dout - dbeta - xh * dgamma", "n * dout - xh * dgamma")],
        {"backward": "mean-path-missing", "alternative": "mean-path-missing"},
    ),
    (
        "einsum",
        [("n * dout - dbeta - xh * dgamma", "n * dout - dbeta + xh * dgamma")],
        {"backward": "variance-path-sign", "alternative": "variance-path-sign"},
    ),
    (
        "einsum",
        [("n * dout - dbeta - xh * dgamma", "dout - dbeta - xh * dgamma")],
        {"backward": "*", "alternative": "*"},
    ),
    (
        "einsum",
        [("n * dout - dbeta - xh * dgamma", "n * dout - dbeta - dgamma")],
        {"backward": "variance-path-uncentred", "alternative": "variance-path-uncentred"},
    ),
    (
        "einsum",
        [("n * dout - dbeta - xh * dgamma", "n * dout - dbeta - xc * dgamma")],
        {"backward": "variance-path-factor", "alternative": "variance-path-factor"},
    ),
    (
        "einsum",
        [("gamma * inv / n *", "inv / n *")],
        {"backward": "scale-missing-in-dx", "alternative": "scale-missing-in-dx"},
    ),
    ("einsum", [("gamma * inv / n *", "gamma * inv *")], {"backward": "dx-factor", "alternative": "dx-factor"}),
    (
        "einsum",
        [("gamma * inv / n *", "gamma / inv / n *")],
        {"backward": "deviation-power-in-dx", "alternative": "deviation-power-in-dx"},
    ),
    (
        "transposed",
        [("- z * (dz * z).mean(axis=0)", "- (dz * z).mean(axis=0)")],
        {"backward": "variance-path-uncentred"},
    ),
    ("transposed", [("dz - dz.mean(0) - z", "dz - dz.mean() - z")], {"backward": "features-mixed-in-dx"}),
    ("transposed", [("np.sqrt(var.ravel() + eps)", "np.sqrt(var.ravel())")], {"backward": "epsilon-missing"}),
    # images
    (
        "staged",
        [("x.transpose(0, 2, 3, 1).reshape(-1, c), gamma", "x.reshape(-1, c), gamma")],
        {"spatial": ("channels-mixed", "put-back-wrong")},
    ),
    (
        "staged",
        [
            ("x.transpose(0, 2, 3, 1).reshape(-1, c), gamma", "x.reshape(-1, c), gamma"),
            ("out.reshape(n, h, w, c).transpose(0, 3, 1, 2)", "out.reshape(n, c, h, w)"),
            ("dout.transpose(0, 2, 3, 1).reshape(-1, c)", "dout.reshape(-1, c)"),
            ("dx.reshape(n, h, w, c).transpose(0, 3, 1, 2)", "dx.reshape(n, c, h, w)"),
        ],
        {"spatial": "channels-mixed"},
    ),
    (
        "staged",
        [("return out.reshape(n, h, w, c).transpose(0, 3, 1, 2)", "return out.reshape(n, c, h, w)")],
        {"spatial": "put-back-wrong"},
    ),
    (
        "staged",
        [("return dx.reshape(n, h, w, c).transpose(0, 3, 1, 2)", "return dx.reshape(n, c, h, w)")],
        {"spatial": "images-dx-put-back"},
    ),
    (
        "staged",
        [
            (
                "return dx.reshape(n, h, w, c).transpose(0, 3, 1, 2)",
                "return dx.reshape(n, h, w, c).transpose(0, 3, 2, 1)",
            )
        ],
        {"spatial": "dx-missing"},
    ),
    ("staged", [("dout.transpose(0, 2, 3, 1).reshape(-1, c)", "dout.reshape(-1, c)")], {"spatial": "*"}),
    (
        "direct images",
        [("x.mean(axis=(0, 2, 3)), x.var(axis=(0, 2, 3))", "x.mean(axis=(0, 2, 3)), x.var(axis=(0, 2, 3), ddof=1)")],
        {"spatial": "*"},
    ),
    ("direct images", [("var.reshape(wide) + eps)", "var.reshape(wide))")], {"spatial": "*"}),
    ("direct images", [("dout.size // dout.shape[1]", "dout.shape[0]")], {"spatial": "count-without-positions"}),
    (
        "direct images",
        [("(gamma / np.sqrt(var + eps)).reshape", "(1 / np.sqrt(var + eps)).reshape")],
        {"spatial": "scale-missing-in-dx"},
    ),
    (
        "direct images",
        [
            (
                "dgamma, dbeta = (dout * xhat).sum(axes), dout.sum(axes)",
                "dgamma, dbeta = (dout * xhat).mean(axes), dout.mean(axes)",
            )
        ],
        {"spatial": "*"},
    ),
    (
        "direct images",
        [("m * rm + (1 - m) * mean, m * rv", "(1 - m) * rm + m * mean, m * rv")],
        {"spatial": "momentum-swapped"},
    ),
    (
        "staged",
        [("x.transpose(0, 2, 3, 1).reshape(-1, c), gamma", "x.reshape(c, -1).T, gamma")],
        {"spatial": "channels-mixed"},
    ),
]
