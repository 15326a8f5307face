"""Right solutions in the styles that students write: none of them may be accused of anything."""

import math

import numpy as np


def _averages(x, bn_param):
    d = x.shape[1]
    return (
        bn_param.get("eps", 1e-5),
        bn_param.get("momentum", 0.9),
        bn_param.get("running_mean", np.zeros(d, dtype=x.dtype)),
        bn_param.get("running_var", np.zeros(d, dtype=x.dtype)),
    )


# --- staged, every node of the graph with a name, sums over broadcasts by matrices of ones ----------


def staged_forward(x, gamma, beta, bn_param):
    mode = bn_param["mode"]
    eps, momentum, running_mean, running_var = _averages(x, bn_param)
    n = x.shape[0]
    if mode == "train":
        mu = 1 / float(n) * np.sum(x, axis=0)
        xmu = x - mu
        carre = xmu**2
        var = 1 / float(n) * np.sum(carre, axis=0)
        sqrtvar = np.sqrt(var + eps)
        invvar = 1.0 / sqrtvar
        va2 = xmu * invvar
        va3 = gamma * va2
        out = va3 + beta
        running_mean = momentum * running_mean + (1.0 - momentum) * mu
        running_var = momentum * running_var + (1.0 - momentum) * var
        cache = (mu, xmu, carre, var, sqrtvar, invvar, va2, va3, gamma, beta, x, bn_param)
    elif mode == "test":
        xhat = (x - running_mean) / np.sqrt(running_var + eps)
        out, cache = gamma * xhat + beta, (running_mean, running_var)
    else:
        raise ValueError(f"Invalid forward batchnorm mode {mode}")
    bn_param["running_mean"] = running_mean
    bn_param["running_var"] = running_var
    return out, cache


def staged_backward(dout, cache):
    _, xmu, _, _, sqrtvar, invvar, va2, _, gamma, *_ = cache
    n, d = dout.shape
    dva3 = dout
    dbeta = np.sum(dout, axis=0)
    dva2 = gamma * dva3
    dgamma = np.sum(va2 * dva3, axis=0)
    dxmu = invvar * dva2
    dinvvar = np.sum(xmu * dva2, axis=0)
    dsqrtvar = -1.0 / (sqrtvar**2) * dinvvar
    dvar = 0.5 * 1.0 / sqrtvar * dsqrtvar
    dcarre = 1 / float(n) * np.ones((n, d)) * dvar
    dxmu += 2 * xmu * dcarre
    dx = dxmu
    dmu = -np.sum(dxmu, axis=0)
    dx = dx + 1 / float(n) * np.ones((n, d)) * dmu
    return dx, dgamma, dbeta


# --- the paper's formulas with the power -1.5, a cache as dict ---------------------------------------


def paper_forward(x, gamma, beta, bn_param):
    eps, momentum, running_mean, running_var = _averages(x, bn_param)
    out, cache = None, None
    if bn_param["mode"] == "train":
        sample_mean, sample_var = np.mean(x, axis=0), np.var(x, axis=0)
        x_hat = (x - sample_mean) * (sample_var + eps) ** -0.5
        out = x_hat * gamma + beta
        cache = {"x": x, "m": sample_mean, "v": sample_var, "h": x_hat, "g": gamma, "e": eps}
        running_mean = running_mean * momentum + sample_mean * (1 - momentum)
        running_var = running_var * momentum + sample_var * (1 - momentum)
    else:
        scale = gamma / np.sqrt(running_var + eps)
        out = x * scale + (beta - running_mean * scale)
    bn_param.update(running_mean=running_mean, running_var=running_var)
    return out, cache


def paper_backward(dout, cache):
    x, mean, var, eps = cache["x"], cache["m"], cache["v"], cache["e"]
    m = x.shape[0]
    dxhat = dout * cache["g"]
    dvar = np.sum(dxhat * (x - mean) * -0.5 * (var + eps) ** -1.5, axis=0)
    dmean = np.sum(dxhat * -1 / np.sqrt(var + eps), axis=0) + dvar * np.mean(-2 * (x - mean), axis=0)
    dx = dxhat / np.sqrt(var + eps) + dvar * 2 * (x - mean) / m + dmean / m
    return dx, np.sum(dout * cache["h"], axis=0), np.sum(dout, axis=0)


# --- compact, einsum ----------------------------------------------------------------------------------


def einsum_forward(x, gamma, beta, bn_param):
    eps, momentum, rm, rv = _averages(x, bn_param)
    if bn_param["mode"] == "test":
        return np.einsum("nd,d->nd", (x - rm) / np.sqrt(rv + eps), gamma) + beta, None
    n = len(x)
    mu = np.einsum("nd->d", x) / n
    xc = x - mu
    var = np.einsum("nd,nd->d", xc, xc) / n
    bn_param["running_mean"] = rm - (1 - momentum) * (rm - mu)
    bn_param["running_var"] = rv - (1 - momentum) * (rv - var)
    inv = 1 / np.sqrt(var + eps)
    return np.einsum("nd,d,d->nd", xc, inv, gamma) + beta, (inv, gamma, xc)


def einsum_backward(dout, cache):
    inv, gamma, xc = cache
    n = len(dout)
    xh = xc * inv
    dbeta, dgamma = np.einsum("nd->d", dout), np.einsum("nd,nd->d", dout, xh)
    return gamma * inv / n * (n * dout - dbeta - xh * dgamma), dgamma, dbeta


# --- plain loops over numbers ---------------------------------------------------------------------------


def loops_forward(x, gamma, beta, bn_param):
    eps, momentum, rm, rv = _averages(x, bn_param)
    n, d = x.shape
    out, hats, devs = np.empty((n, d), dtype=x.dtype), np.empty((n, d)), []
    new_mean, new_var = rm.copy(), rv.copy()
    for j in range(d):
        if bn_param["mode"] == "train":
            mu = sum(x[i, j] for i in range(n)) / n
            var = sum((x[i, j] - mu) ** 2 for i in range(n)) / n
            new_mean[j] = momentum * rm[j] + (1 - momentum) * mu
            new_var[j] = momentum * rv[j] + (1 - momentum) * var
        else:
            mu, var = rm[j], rv[j]
        dev = math.sqrt(var + eps)
        devs.append(dev)
        for i in range(n):
            hats[i, j] = (x[i, j] - mu) / dev
            out[i, j] = gamma[j] * hats[i, j] + beta[j]
    if bn_param["mode"] == "train":
        bn_param["running_mean"], bn_param["running_var"] = new_mean, new_var
    return out, (devs, hats, gamma)


def loops_backward(dout, cache):
    devs, hats, gamma = cache
    n, d = dout.shape
    dx, dgamma, dbeta = np.zeros((n, d)), np.zeros(d), np.zeros(d)
    for j in range(d):
        for i in range(n):
            dgamma[j] += dout[i, j] * hats[i, j]
            dbeta[j] += dout[i, j]
        for k in range(n):
            for i in range(n):
                delta = 1.0 if i == k else 0.0
                dx[k, j] += dout[i, j] * gamma[j] / devs[j] * (delta - 1 / n - hats[i, j] * hats[k, j] / n)
    return dx, dgamma, dbeta


# --- float32 throughout, and float64 throughout -----------------------------------------------------------


def single_forward(x, gamma, beta, bn_param):
    x, gamma, beta = (np.asarray(a, dtype=np.float32) for a in (x, gamma, beta))
    eps, momentum, rm, rv = _averages(x, bn_param)
    if bn_param["mode"] == "test":
        return (gamma * (x - rm) / np.sqrt(rv + eps) + beta).astype(np.float32), ()
    mu, var = x.mean(0), x.var(0)
    bn_param["running_mean"], bn_param["running_var"] = (
        momentum * rm + (1 - momentum) * mu,
        momentum * rv + (1 - momentum) * var,
    )
    std = np.sqrt(var + np.float32(eps))
    return gamma * ((x - mu) / std) + beta, [x - mu, std, gamma]


def single_backward(dout, cache):
    centred, std, gamma = cache
    dout = dout.astype(np.float32)
    n = np.float32(dout.shape[0])
    dhat = dout * gamma
    dvar = -0.5 * (dhat * centred).sum(0) / std**3
    dmu = -(dhat / std).sum(0)
    return dhat / std + 2 * dvar * centred / n + dmu / n, (dout * centred / std).sum(0), dout.sum(0)


def double_forward(x, gamma, beta, bn_param):
    out, cache = einsum_forward(x.astype(np.float64), gamma.astype(np.float64), beta.astype(np.float64), bn_param)
    return out, cache


# --- transposed, statistics by a product with a vector, cache in an odd order ----------------------------------


def transposed_forward(x, gamma, beta, bn_param):
    eps, m, rm, rv = _averages(x, bn_param)
    xt = x.T
    if bn_param["mode"] == "train":
        mean, var = xt.mean(axis=1, keepdims=True), xt.var(axis=1, keepdims=True)
        bn_param["running_mean"] = m * rm + (1 - m) * mean[:, 0]
        bn_param["running_var"] = m * rv + (1 - m) * np.squeeze(var)
    else:
        mean, var = np.reshape(rm, (-1, 1)), np.reshape(rv, (-1, 1))
    z = (xt - mean) / np.sqrt(var + eps)
    return (gamma[:, None] * z + beta[:, None]).T, (z.T, eps, "anything", var, gamma, np.nan)


def transposed_backward(dout, cache):
    z, eps, _, var, gamma, _ = cache
    dz = dout * gamma
    projected = dz - dz.mean(0) - z * (dz * z).mean(axis=0)
    return projected / np.sqrt(var.ravel() + eps), np.diag(dout.T @ z), dout.sum(axis=0)


def jacobian_backward(dout, cache):
    """The same cache, the whole n by n matrix of each feature."""
    z, eps, _, var, gamma, _ = cache
    n, d = dout.shape
    dx = np.zeros_like(dout)
    for j in range(d):
        matrix = np.eye(n) - np.ones((n, n)) / n - np.outer(z[:, j], z[:, j]) / n
        dx[:, j] = gamma[j] / np.sqrt(var[j, 0] + eps) * (matrix @ dout[:, j])
    return dx, (z * dout).sum(0), dout.sum(0)


# --- the 4-D pair in three ways -----------------------------------------------------------------------------------


def rows_forward(x, gamma, beta, bn_param):
    n, c, h, w = x.shape
    out, cache = staged_forward(x.transpose(0, 2, 3, 1).reshape(-1, c), gamma, beta, bn_param)
    return out.reshape(n, h, w, c).transpose(0, 3, 1, 2), cache


def rows_backward(dout, cache):
    n, c, h, w = dout.shape
    dx, dgamma, dbeta = staged_backward(dout.transpose(0, 2, 3, 1).reshape(-1, c), cache)
    return dx.reshape(n, h, w, c).transpose(0, 3, 1, 2), dgamma, dbeta


def swapped_forward(x, gamma, beta, bn_param):
    n, c, h, w = x.shape
    out, cache = paper_forward(np.swapaxes(x, 0, 1).reshape(c, -1).T, gamma, beta, bn_param)
    return np.swapaxes(out.T.reshape(c, n, h, w), 0, 1), cache


def swapped_backward(dout, cache):
    n, c, h, w = dout.shape
    dx, dgamma, dbeta = paper_backward(np.swapaxes(dout, 0, 1).reshape(c, -1).T, cache)
    return np.swapaxes(dx.T.reshape(c, n, h, w), 0, 1), dgamma, dbeta


def direct_forward(x, gamma, beta, bn_param):
    eps, m = bn_param["eps"], bn_param["momentum"]
    c = x.shape[1]
    wide = (1, c, 1, 1)
    rm, rv = bn_param.get("running_mean", np.zeros(c)), bn_param.get("running_var", np.zeros(c))
    if bn_param["mode"] == "test":
        mean, var = rm, rv
    else:
        mean, var = x.mean(axis=(0, 2, 3)), x.var(axis=(0, 2, 3))
        bn_param["running_mean"], bn_param["running_var"] = m * rm + (1 - m) * mean, m * rv + (1 - m) * var
    xhat = (x - mean.reshape(wide)) / np.sqrt(var.reshape(wide) + eps)
    return gamma.reshape(wide) * xhat + beta.reshape(wide), (xhat, var, gamma, eps)


def direct_backward(dout, cache):
    xhat, var, gamma, eps = cache
    axes, wide = (0, 2, 3), (1, -1, 1, 1)
    dgamma, dbeta = (dout * xhat).sum(axes), dout.sum(axes)
    count = dout.size // dout.shape[1]
    dx = dout - (dbeta.reshape(wide) + xhat * dgamma.reshape(wide)) / count
    return dx * (gamma / np.sqrt(var + eps)).reshape(wide), dgamma, dbeta


SOLUTIONS = {
    "staged": {
        "forward": staged_forward,
        "backward": staged_backward,
        "spatial_forward": rows_forward,
        "spatial_backward": rows_backward,
    },
    "paper": {
        "forward": paper_forward,
        "backward": paper_backward,
        "spatial_forward": swapped_forward,
        "spatial_backward": swapped_backward,
    },
    "einsum": {"forward": einsum_forward, "backward": einsum_backward, "alternative_backward": einsum_backward},
    "loops": {"forward": loops_forward, "backward": loops_backward},
    "single precision": {"forward": single_forward, "backward": single_backward},
    "double precision": {"forward": double_forward, "backward": einsum_backward},
    "transposed": {
        "forward": transposed_forward,
        "backward": transposed_backward,
        "alternative_backward": jacobian_backward,
    },
    "direct images": {
        "forward": staged_forward,
        "backward": staged_backward,
        "spatial_forward": direct_forward,
        "spatial_backward": direct_backward,
    },
}
