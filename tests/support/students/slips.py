# ruff: noqa: E501  (an edit is a line of source text)
"""For each code that the report may use, and no other test asks for, an edit of a right solution that produces it.

(code, solution, changes): the text of the solution is that of `right`, as for `edits`.
"""

TRAIN = "va2 = xmu * invvar"
VAR = "var = 1 / float(n) * np.sum(carre, axis=0)"
OUT = "out = va3 + beta"
KEPT = "(1.0 - momentum) * var"
DX = "return dx, dgamma, dbeta"
HAT = "dgamma = np.sum(va2 * dva3, axis=0)"
BETA = "dbeta = np.sum(dout, axis=0)"

SLIPS = [
    # out
    ("mean-added", "staged", [(TRAIN, "va2 = (x + mu) * invvar")]),
    ("median-for-mean", "staged", [(TRAIN, "va2 = (x - np.median(x, axis=0)) * invvar")]),
    ("wrong-centre", "staged", [(TRAIN, "va2 = (x - mu - 0.37) * invvar")]),
    (
        "row-statistics",
        "staged",
        [("out = va3 + beta", "out = gamma * ((x.T - x.mean(1)) / np.sqrt(x.var(1) + eps)).T + beta")],
    ),
    ("global-variance", "staged", [(VAR, "var = np.var(x) + np.zeros(x.shape[1])")]),
    ("variance-about-average", "staged", [("carre = xmu**2", "carre = (x - running_mean)**2")]),
    ("mean-not-squared", "staged", [(VAR, "var = np.mean(x**2, axis=0) - mu")]),
    ("divided-by-features", "staged", [(VAR, "var = np.sum(carre, axis=0) / x.shape[1]")]),
    ("mean-subtracted-late", "staged", [(TRAIN, "va2 = x * invvar - mu")]),
    ("variance-averaged-twice", "staged", [(VAR, VAR + " / n")]),
    ("variance-factor", "staged", [(VAR, VAR + " * 1.37")]),
    ("denominator-power", "staged", [("np.sqrt(var + eps)\n        invvar", "(var + eps) ** 1.5\n        invvar")]),
    ("denominator-power", "staged", [("np.sqrt(var + eps)\n        invvar", "(var + eps) ** 2\n        invvar")]),
    ("epsilon-on-inverse", "staged", [("invvar = 1.0 / sqrtvar", "invvar = 1.0 / np.sqrt(var) + eps")]),
    ("mean-divided", "staged", [(OUT, "out = gamma * x - mu * invvar + beta")]),
    ("averaged-mean-in-training", "staged", [("xmu = x - mu", "xmu = x - running_mean")]),
    (
        "averaged-variance-in-training",
        "staged",
        [("np.sqrt(var + eps)\n        invvar", "np.sqrt(running_var + eps)\n        invvar")],
    ),
    (
        "averages-exchanged",
        "staged",
        [("(x - running_mean) / np.sqrt(running_var + eps)", "(x - running_var) / np.sqrt(running_mean + eps)")],
    ),
    ("root-twice", "staged", [("np.sqrt(var + eps)\n        invvar", "np.sqrt(np.sqrt(var + eps))\n        invvar")]),
    ("one-denominator", "staged", [("invvar = 1.0 / sqrtvar", "invvar = 1.0 / 3.7")]),
    ("variance-zero", "staged", [(VAR, "var = np.mean(xmu, axis=0) ** 2")]),
    ("not-a-number", "staged", [("np.sqrt(var + eps)\n        invvar", "np.sqrt(-var)\n        invvar")]),
    (
        "epsilon-on-quotient",
        "staged",
        [("sqrtvar = np.sqrt(var + eps)", "sqrtvar = np.sqrt(var)"), (TRAIN, TRAIN + " + eps")],
    ),
    (
        "epsilon-rooted",
        "staged",
        [("np.sqrt(var + eps)\n        invvar", "np.sqrt(var + np.sqrt(eps))\n        invvar")],
    ),
    ("epsilon-unknown", "staged", [("np.sqrt(var + eps)\n        invvar", "np.sqrt(var + 1.7 * eps)\n        invvar")]),
    ("epsilon-as-floor", "staged", [("sqrtvar = np.sqrt(var + eps)", "sqrtvar = np.sqrt(np.maximum(var, eps))")]),
    ("epsilon-as-floor", "staged", [("sqrtvar = np.sqrt(var + eps)", "sqrtvar = np.maximum(np.sqrt(var), eps)")]),
    ("output-clipped", "staged", [(TRAIN, TRAIN + "; va2 = np.clip(va2, -1, 1)")]),
    ("output-clipped", "staged", [(OUT, "out = np.maximum(va3 + beta, 0)")]),
    ("output-rounded", "staged", [(OUT, "out = np.round(va3 + beta, 2)")]),
    ("rows-left-out", "staged", [(VAR, "var = 1 / float(n) * np.sum(carre[1:], axis=0)")]),
    ("rows-left-out", "staged", [("mu = 1 / float(n) * np.sum(x, axis=0)", "mu = np.mean(x[: n // 2], axis=0)")]),
    (
        "statistics-mixed",
        "staged",
        [("np.sqrt(var + eps)\n        invvar", "np.sqrt((var + running_var) / 2 + eps)\n        invvar")],
    ),
    ("centre-mixed", "staged", [("(x - running_mean) / np", "(x - (running_mean + x.mean(0)) / 2) / np")]),
    ("offset-for-scale", "staged", [("va3 = gamma * va2", "va3 = beta * va2")]),
    (
        "averages-move-in-test",
        "staged",
        [
            (
                "out, cache = gamma * xhat + beta, (",
                "running_mean = momentum * running_mean + (1.0 - momentum) * x.mean(0)\n        out, cache = gamma * xhat + beta, (",
            )
        ],
    ),
    ("test-trains", "staged", [('if mode == "train":', 'if mode == "train" or "test":')]),
    ("bessel-in-test", "staged", [("np.sqrt(running_var + eps)", "np.sqrt(running_var * n / (n - 1) + eps)")]),
    ("type", "staged", [("    return out, cache\n", "    return cache, out\n")]),
    ("affine-exchanged", "staged", [("va3 = gamma * va2", "va3 = beta * va2"), (OUT, "out = va3 + gamma")]),
    ("variance-about-whole", "staged", [("carre = xmu**2", "carre = (x - x.mean())**2")]),
    ("mean-not-averaged", "staged", [("mu = 1 / float(n) * np.sum", "mu = np.sum")]),
    ("not-centred", "staged", [("xmu = x - mu", "xmu = x")]),
    ("denominator-power", "staged", [("invvar = 1.0 / sqrtvar", "invvar = var + eps")]),
    ("mean-of-n-1", "staged", [("mu = 1 / float(n) * np.sum", "mu = 1 / float(n - 1) * np.sum")]),
    ("row-order", "staged", [(VAR, "var = sum((x[i] - x[: i + 1].mean(0)) ** 2 for i in range(n)) / n")]),
    ("some-features", "staged", [(OUT, "out = va3 + beta\n        out[:, 3] = np.tanh(out[:, 3])")]),
    ("scale-negated", "staged", [(OUT, "out = beta - va3")]),
    ("scale-squared", "staged", [(OUT, "out = gamma * va3 + beta")]),
    ("scale-inverted", "staged", [(OUT, "out = va2 / gamma + beta")]),
    ("scale-for-offset", "staged", [(OUT, "out = va3 + gamma")]),
    ("output-constant", "staged", [(OUT, "out = 0 * va3 + beta")]),
    ("input-returned", "staged", [(OUT, "out = gamma * x + beta")]),
    ("unexplained-output", "staged", [(OUT, "out = np.tanh(va3) + beta")]),
    # what is stored
    ("statistic-divided-twice", "staged", [(KEPT, "(1.0 - momentum) * var / n")]),
    ("divided-by-features-stored", "staged", [("(1.0 - momentum) * mu", "(1.0 - momentum) * x.sum(0) / x.shape[1]")]),
    (
        "averages-keep-apart",
        "staged",
        [
            (
                "running_mean = momentum * running_mean + (1.0 - momentum) * mu",
                "running_mean = 0.1 * running_mean + 0.9 * mu",
            ),
            (
                "running_var = momentum * running_var + (1.0 - momentum) * var",
                "running_var = 0.9 * running_var + 0.1 * var",
            ),
        ],
    ),
    ("sum-stored", "staged", [(KEPT, "(1.0 - momentum) * np.sum(carre, axis=0)")]),
    ("global-stored", "staged", [(KEPT, "(1.0 - momentum) * np.var(x)")]),
    ("output-mean-stored", "staged", [("(1.0 - momentum) * mu", "(1.0 - momentum) * out.mean(0)")]),
    ("mean-of-n-1", "staged", [("(1.0 - momentum) * mu", "(1.0 - momentum) * x.sum(0) / (n - 1)")]),
    (
        "momentum-rule",
        "staged",
        [("running_mean = momentum * running_mean", "running_mean = momentum**2 * running_mean")],
    ),
    ("rows-left-out", "staged", [("(1.0 - momentum) * mu", "(1.0 - momentum) * x[0]")]),
    ("constant-added", "staged", [("(1.0 - momentum) * mu", "(1.0 - momentum)")]),
    (
        "averages-stored-exchanged",
        "staged",
        [
            (
                'bn_param["running_mean"] = running_mean',
                'bn_param["running_mean"], running_var = running_var, running_mean',
            )
        ],
    ),
    ("whole-numbers", "staged", [("(1.0 - momentum) * mu", "(1.0 - momentum) * (np.sum(x, axis=0) // n)")]),
    ("nothing-taken", "staged", [(KEPT, "(1.0 - momentum) * 0 * var")]),
    ("old-forgotten", "staged", [("running_var = momentum * running_var +", "running_var = 0 * running_var +")]),
    ("averages-alike", "staged", [('bn_param["running_var"] = running_var', 'bn_param["running_var"] = running_mean')]),
    ("average-mixed", "staged", [(KEPT, "(1.0 - momentum) * (var - mu / 2)")]),
    ("average-mixed", "staged", [("running_var = momentum * running_var", "running_var = running_mean * 0.5")]),
    ("hat-variance-stored", "staged", [(KEPT, "(1.0 - momentum) * va2.var(axis=0)")]),
    ("bessel-twice", "staged", [(KEPT, "(1.0 - momentum) * var * (n / (n - 1)) ** 2")]),
    ("median-stored", "staged", [("(1.0 - momentum) * mu", "(1.0 - momentum) * np.median(x, axis=0)")]),
    ("unexplained-average", "staged", [(KEPT, "(1.0 - momentum) * np.exp(-var)")]),
    ("small-variance-stored", "staged", [(KEPT, "(1.0 - momentum) * var * (n - 1) / n")]),
    ("variance-squared-stored", "staged", [(KEPT, "(1.0 - momentum) * var**2")]),
    ("output-variance-stored", "staged", [(KEPT, "(1.0 - momentum) * out.var(axis=0)")]),
    ("average-broadcast", "staged", [("(1.0 - momentum) * mu", "(1.0 - momentum) * x.mean(1, keepdims=True)")]),
    ("average-missing", "staged", [('bn_param["running_mean"] = running_mean', 'bn_param["running_mean"] = None')]),
    (
        "right-for-stored",
        "staged",
        [(KEPT, "(1.0 - momentum) * sqrtvar"), ("np.sqrt(running_var + eps)", "running_var")],
    ),
    ("follows-convention", "staged", [(KEPT, "(1.0 - momentum) * var * n / (n - 1)")]),
    # dx, dgamma, dbeta
    ("dx-zero", "staged", [(DX, "return 0 * dx, dgamma, dbeta")]),
    ("dx-not-a-number", "staged", [("dxmu = invvar * dva2", "dxmu = gamma ** 0.5 * dva2")]),
    (
        "diagonal-only",
        "paper",
        [("return dx,", "dx = (1 - 1 / m - cache['h'] ** 2 / m) * dxhat / np.sqrt(var + eps)\n    return dx,")],
    ),
    ("gradient-terms", "staged", [("dx = dx + 1", "dx = dx + va2 * dout.mean(0) + (dout * va2).mean(0) + 1")]),
    ("unexplained-dx", "staged", [(DX, "return dx * np.cosh(xmu), dgamma, dbeta")]),
    ("dx-open", "staged", [(OUT, "out = np.tanh(va3) + beta"), (DX, "return dx * np.cosh(xmu), dgamma, dbeta")]),
    (
        "rows-so-far",
        "staged",
        [
            (
                "dmu = -np.sum(dxmu, axis=0)",
                "dmu = -np.cumsum(dout * gamma * invvar, axis=0); dxmu = dx = dout * gamma * invvar",
            )
        ],
    ),
    ("some-features", "staged", [(DX, "dx[:, 2] = 0\n    return dx, dgamma, dbeta")]),
    ("variance-path-alone", "staged", [("dxmu += 2 * xmu * dcarre", "dxmu = 2 * xmu * dcarre")]),
    (
        "mean-path-alone",
        "paper",
        [("dx = dxhat / np.sqrt(var + eps) + dvar * 2 * (x - mean) / m + dmean / m", "dx = dmean / m + 0 * x")],
    ),
    ("dx-not-divided", "einsum", [("return gamma * inv / n", "return gamma / n")]),
    (
        "cache-order",
        "staged",
        [("_, xmu, _, _, sqrtvar, invvar, va2, _, gamma", "_, va2, _, _, sqrtvar, invvar, xmu, _, gamma")],
    ),
    ("dbeta-in-dgamma", "staged", [(HAT, "dgamma = np.sum(va2 * dva3, axis=0) + dbeta")]),
    ("gradients-order", "staged", [(DX, "return dgamma, dbeta, dx")]),
    ("rows-left-out", "staged", [(DX, "dx[-1] = 0\n    return dx, dgamma, dbeta")]),
    ("rows-left-out", "staged", [(BETA, "dbeta = np.sum(dout[:-1], axis=0)")]),
    ("rows-reordered", "staged", [(DX, "return dx[::-1], dgamma, dbeta")]),
    ("not-linear", "staged", [("    dva3 = dout\n", "    dva3 = dout * (dout > 0)\n")]),
    ("both-paths-factor", "paper", [("m = x.shape[0]", "m = x.shape[1]")]),
    ("gradient-for-scale", "staged", [("dva2 = gamma * dva3", "dva2 = np.sum(va2 * dout, axis=0) * dva3")]),
    (
        "gradient-for-scale",
        "staged",
        [("dva2 = gamma * dva3", "dva2 = (gamma - 0.1 * np.sum(va2 * dout, axis=0)) * dva3")],
    ),
    ("gradient-for-scale", "staged", [("dva2 = gamma * dva3", "dva2 = dbeta * dva3")]),
    ("cache-order", "einsum", [("return gamma * inv / n", "return gamma / np.mean(xc**2, axis=0) / n")]),
    ("direct-path-sign", "paper", [("dx = dxhat /", "dx = -dxhat /")]),
    ("x-in-variance-sum", "paper", [("dxhat * (x - mean) * -0.5", "dxhat * x * -0.5")]),
    ("variance-not-summed", "staged", [("dinvvar = np.sum(xmu * dva2, axis=0)", "dinvvar = xmu * dva2")]),
    ("mean-not-summed", "staged", [("dmu = -np.sum(dxmu, axis=0)", "dmu = -dxmu")]),
    ("scale-missing-in-path", "paper", [("dx = dxhat /", "dx = dout /")]),
    ("offset-in-dx", "staged", [("va2, _, gamma, *_ = cache", "va2, _, g, gamma, *_ = cache")]),
    (
        "cache-order",
        "staged",
        [("va2, _, gamma, *_ = cache", "va2, _, gamma, *_ = cache\n    gamma, keep = va2, gamma")],
    ),
    (
        "follows-forward",
        "staged",
        [
            (TRAIN, "va2 = x * invvar"),
            (
                DX,
                "h, g, n = va2, gamma, len(dout)\n    return g * invvar * (dout - dout.mean(0) - h * (dout * h).mean(0)), dgamma, dbeta",
            ),
        ],
    ),
    ("follows-forward-epsilon", "einsum", [("inv = 1 / np.sqrt(var + eps)", "inv = 1 / (np.sqrt(var) + eps)")]),
    (
        "right-for-own-forward",
        "staged",
        [("np.sqrt(var + eps)\n        invvar", "np.sqrt(var + 2 * eps)\n        invvar")],
    ),
    (
        "right-by-the-book",
        "paper",
        [
            (
                "np.mean(x, axis=0), np.var(x, axis=0)\n        x_hat = (x - sample_mean) * (sample_var + eps)",
                "np.mean(x, axis=0), np.var(x, axis=0)\n        x_hat = (x - sample_mean) * (sample_var + eps)",
            ),
            ("out = x_hat * gamma + beta", "out = x_hat * np.abs(gamma) + beta"),
        ],
    ),
    ("dscale-follows-forward", "staged", [(TRAIN, "va2 = x * invvar"), (OUT, "out = va2 + beta")]),
    ("dscale-of-line", "staged", [(HAT, "dgamma = np.sum((1.7 * va2 - 0.4) * dva3, axis=0)")]),
    (
        "dscale-from-averages",
        "staged",
        [
            (
                HAT,
                'b = cache[11]; dgamma = np.sum((cache[10] - b["running_mean"]) / np.sqrt(b["running_var"] + b["eps"]) * dva3, axis=0)',
            )
        ],
    ),
    ("averaged-variance-in-backward", "paper", [('"v": sample_var', '"v": running_var')]),
    ("dscale-from-y", "staged", [(HAT, "dgamma = np.sum((va2 * gamma + cache[9]) * dva3, axis=0)")]),
    (
        "sample-variance-in-backward",
        "paper",
        [('cache["v"], cache["e"]', 'cache["v"] * len(dout) / (len(dout) - 1), cache["e"]')],
    ),
    (
        "x-hat-taken-back",
        "staged",
        [(HAT, "dgamma = np.sum(((va2 * gamma + cache[9]) / gamma - cache[9]) * dva3, axis=0)")],
    ),
    ("x-hat-taken-back", "staged", [(HAT, "dgamma = np.sum((cache[10] - cache[9]) / gamma * dva3, axis=0)")]),
    ("parameter-zero", "staged", [(HAT, "dgamma = np.sum(va2, axis=0) * np.sum(dva3, axis=0)")]),
    ("some-features", "staged", [(BETA, "dbeta = np.zeros(d); dbeta[-1] = np.sum(dout[:, -1])")]),
    ("gradient-summed-over-all", "staged", [(BETA, "dbeta = np.sum(dout)")]),
    ("gradient-summed-over-features", "staged", [(BETA, "dbeta = np.sum(dout, axis=1)")]),
    ("parameter-ignores-dout", "staged", [(BETA, "dbeta = np.ones(d)")]),
    ("offset-from-x_hat", "staged", [(BETA, "dbeta = np.sum(va2 * dout, axis=0)")]),
    ("parameter-sign", "staged", [(BETA, "dbeta = -np.sum(dout, axis=0)")]),
    ("parameter-factor", "staged", [(BETA, "dbeta = 2 * np.sum(dout, axis=0)")]),
    (
        "unexplained-parameter",
        "staged",
        [(BETA, "dbeta = np.sum(dout * np.cos(x), axis=0)"), ("gamma, *_ = cache", "gamma, _, x, _ = cache")],
    ),
    ("gradient-not-summed", "staged", [(BETA, "dbeta = dout")]),
    ("parameter-follows-forward", "staged", [(OUT, "out = va2"), (HAT, "dgamma = None")]),
    # images
    (
        "position-statistics",
        "direct images",
        [
            ("x.mean(axis=(0, 2, 3)), x.var(axis=(0, 2, 3))", "x.mean(axis=(0, 2, 3)), x.var(axis=(0, 2, 3))"),
            (
                "(x - mean.reshape(wide)) / np.sqrt(var.reshape(wide) + eps)",
                "(x - x.mean(0)) / np.sqrt(x.var(0) + eps)",
            ),
        ],
    ),
    (
        "instance-statistics",
        "direct images",
        [
            (
                "(x - mean.reshape(wide)) / np.sqrt(var.reshape(wide) + eps)",
                "(x - x.mean((2, 3), keepdims=True)) / np.sqrt(x.var((2, 3), keepdims=True) + eps)",
            )
        ],
    ),
    (
        "channel-axis",
        "direct images",
        [
            (
                "(x - mean.reshape(wide)) / np.sqrt(var.reshape(wide) + eps)",
                "(x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + eps)",
            )
        ],
    ),
    (
        "variance-apart",
        "direct images",
        [
            (
                "(x - mean.reshape(wide)) / np.sqrt(var.reshape(wide) + eps)",
                "(x - mean.reshape(wide)) / np.sqrt(x.var((2, 3), keepdims=True) + eps)",
            )
        ],
    ),
    (
        "wrong-axes",
        "direct images",
        [
            (
                "(x - mean.reshape(wide)) / np.sqrt(var.reshape(wide) + eps)",
                "(x - x.mean((0, 3), keepdims=True)) / np.sqrt(x.var((0, 3), keepdims=True) + eps)",
            )
        ],
    ),
    (
        "images-bessel",
        "direct images",
        [("m * rv + (1 - m) * var", "m * rv + (1 - m) * var * len(x) / (len(x) - 1)")],
    ),
    (
        "images-not-summed",
        "direct images",
        [(".reshape(wide), dgamma, dbeta", ".reshape(wide), dgamma, dout.sum(0)")],
    ),
    (
        "variance-apart",
        "direct images",
        [
            (
                "np.sqrt(var.reshape(wide) + eps)",
                "np.sqrt(((x - mean.reshape(wide)) ** 2).mean((0, 2), keepdims=True) + eps)",
            )
        ],
    ),
    (
        "one-image",
        "direct images",
        [("x.mean(axis=(0, 2, 3)), x.var(axis=(0, 2, 3))", "x[0].mean(axis=(1, 2)), x[0].var(axis=(1, 2))")],
    ),
    ("images-parameter-divided", "direct images", [("dout.sum(axes)\n", "dout.mean((2, 3)).sum(0)\n")]),
    ("images-test", "direct images", [("mean, var = rm, rv", "mean, var = rm, rv\n        x = x[:, :, ::-1]")]),
    (
        "images-statistics",
        "direct images",
        [("m * rv + (1 - m) * var", "m * rv + (1 - m) * x.var(axis=(0, 2)).mean(1)")],
    ),
    ("images-dout-gathered", "staged", [("dout.transpose(0, 2, 3, 1).reshape(-1, c)", "dout.reshape(-1, c)")]),
    ("images-dx-not-a-number", "direct images", [("return dx * (gamma", "return dx * np.nan * (gamma")]),
    (
        "images-parameter",
        "direct images",
        [
            (
                ".reshape(wide), dgamma, dbeta",
                ".reshape(wide), dgamma + dout[0].sum((1, 2)) - dout[0, :, :1].sum((1, 2)), dbeta",
            )
        ],
    ),
    (
        "images-parameter-divided",
        "direct images",
        [(".reshape(wide), dgamma, dbeta", ".reshape(wide), dgamma / dout[0, 0].size, dbeta")],
    ),
    (
        "images-right-for-own",
        "direct images",
        [
            (
                "(x - mean.reshape(wide)) / np.sqrt(var.reshape(wide) + eps)",
                "(x - mean.reshape(wide)) / np.sqrt(var.reshape(wide) + 2 * eps)",
            ),
            ("gamma / np.sqrt(var + eps)", "gamma / np.sqrt(var + 2 * eps)"),
        ],
    ),
    (
        "images-dx-open",
        "direct images",
        [("(x - mean.reshape(wide)) / np.sqrt(var.reshape(wide) + eps)", "(x - x.mean(0)) / np.sqrt(x.var(0) + eps)")],
    ),
    ("images-calls-own", "staged", [("np.sqrt(var + eps)\n        invvar", "np.sqrt(var)\n        invvar")]),
    # around
    ("result-none", "staged", [(OUT, "out = None")]),
    (
        "batch-of-one",
        "staged",
        [
            (
                "        mu = 1 /",
                "        x = x + 1.0 / (n - 1 + 1e-9) * (n == 1)\n        gamma, beta = gamma / (n > 1 or 2), beta + (n == 1)\n        mu = 1 /",
            )
        ],
    ),
    (
        "extra-keys",
        "staged",
        [('    bn_param["running_mean"]', '    bn_param["mu"] = 1\n    bn_param["running_mean"]')],
    ),
    ("dtype-changed", "staged", [(OUT, "out = (va3 + beta).astype(np.float64)")]),
    ("single-precision", "staged", [("        mu = 1 /", "        x = x.astype(np.float32)\n        mu = 1 /")]),
]
