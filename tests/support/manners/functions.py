"""Right solutions as functions of the best-known course, each in another manner, as texts that can be changed."""

RIGHT = {}

RIGHT["dictionary"] = """
import numpy as np

def batchnorm_forward(x, gamma, beta, bn_param):
    mode, eps, momentum = bn_param["mode"], bn_param.get("eps", 1e-5), bn_param.get("momentum", 0.9)
    N, D = x.shape
    running_mean = bn_param.get("running_mean", np.zeros(D, dtype=x.dtype))
    running_var = bn_param.get("running_var", np.zeros(D, dtype=x.dtype))
    out, cache = None, None
    if mode == "train":
        mu = np.mean(x, axis=0)
        var = np.var(x, axis=0)
        std = np.sqrt(var + eps)
        xhat = (x - mu) / std
        out = gamma * xhat + beta
        cache = {"xhat": xhat, "gamma": gamma, "std": std}
        running_mean = momentum * running_mean + (1 - momentum) * mu
        running_var = momentum * running_var + (1 - momentum) * var
    elif mode == "test":
        out = gamma * (x - running_mean) / np.sqrt(running_var + eps) + beta
    else:
        raise ValueError(mode)
    bn_param["running_mean"] = running_mean
    bn_param["running_var"] = running_var
    return out, cache

def batchnorm_backward(dout, cache):
    xhat, gamma, std = cache["xhat"], cache["gamma"], cache["std"]
    N = dout.shape[0]
    dbeta = dout.sum(axis=0)
    dgamma = (dout * xhat).sum(axis=0)
    dxhat = dout * gamma
    dx = (dxhat - dxhat.mean(axis=0) - xhat * (dxhat * xhat).mean(axis=0)) / std
    return dx, dgamma, dbeta
"""

RIGHT["staged"] = """
import numpy as np

def batchnorm_forward(x, gamma, beta, bn_param):
    eps = bn_param.get("eps", 1e-5)
    m = bn_param.get("momentum", 0.9)
    N, D = x.shape
    rm = bn_param.get("running_mean", np.zeros(D))
    rv = bn_param.get("running_var", np.zeros(D))
    if bn_param["mode"] == "train":
        mu = 1. / N * np.sum(x, axis=0)
        xmu = x - mu
        sq = xmu ** 2
        var = 1. / N * np.sum(sq, axis=0)
        sqrtvar = np.sqrt(var + eps)
        ivar = 1. / sqrtvar
        xhat = xmu * ivar
        gammax = gamma * xhat
        out = gammax + beta
        rm = m * rm + (1 - m) * mu
        rv = m * rv + (1 - m) * var
        bn_param["running_mean"], bn_param["running_var"] = rm, rv
        return out, (xhat, gamma, xmu, ivar, sqrtvar, var, eps)
    xn = (x - rm) / np.sqrt(rv + eps)
    return gamma * xn + beta, None

def batchnorm_backward(dout, cache):
    xhat, gamma, xmu, ivar, sqrtvar, var, eps = cache
    N, D = dout.shape
    dbeta = np.sum(dout, axis=0)
    dgammax = dout
    dgamma = np.sum(dgammax * xhat, axis=0)
    dxhat = dgammax * gamma
    divar = np.sum(dxhat * xmu, axis=0)
    dxmu1 = dxhat * ivar
    dsqrtvar = -1. / (sqrtvar ** 2) * divar
    dvar = 0.5 * 1. / np.sqrt(var + eps) * dsqrtvar
    dsq = 1. / N * np.ones((N, D)) * dvar
    dxmu2 = 2 * xmu * dsq
    dx1 = dxmu1 + dxmu2
    dmu = -1 * np.sum(dxmu1 + dxmu2, axis=0)
    dx2 = 1. / N * np.ones((N, D)) * dmu
    dx = dx1 + dx2
    return dx, dgamma, dbeta

def batchnorm_backward_alt(dout, cache):
    xhat, gamma, xmu, ivar, sqrtvar, var, eps = cache
    N = dout.shape[0]
    dbeta = dout.sum(0)
    dgamma = (xhat * dout).sum(0)
    dx = (gamma * ivar / N) * (N * dout - dbeta - xhat * dgamma)
    return dx, dgamma, dbeta

def spatial_batchnorm_forward(x, gamma, beta, bn_param):
    N, C, H, W = x.shape
    flat = x.transpose(0, 2, 3, 1).reshape(-1, C)
    out, cache = batchnorm_forward(flat, gamma, beta, bn_param)
    return out.reshape(N, H, W, C).transpose(0, 3, 1, 2), cache

def spatial_batchnorm_backward(dout, cache):
    N, C, H, W = dout.shape
    flat = dout.transpose(0, 2, 3, 1).reshape(-1, C)
    dx, dgamma, dbeta = batchnorm_backward(flat, cache)
    return dx.reshape(N, H, W, C).transpose(0, 3, 1, 2), dgamma, dbeta
"""

RIGHT["shared_with_layernorm"] = """
import numpy as np

def _normalize(x, eps, axis):
    mean = x.mean(axis=axis, keepdims=True)
    var = x.var(axis=axis, keepdims=True)
    return (x - mean) / np.sqrt(var + eps), mean, var

def _grad(dxhat, xhat, var, eps, axis):
    n = dxhat.shape[axis]
    s = 1 / np.sqrt(var + eps)
    return s / n * (n * dxhat - dxhat.sum(axis=axis, keepdims=True)
                    - xhat * (dxhat * xhat).sum(axis=axis, keepdims=True))

def layernorm_forward(x, gamma, beta, ln_param):
    eps = ln_param.get("eps", 1e-5)
    xhat, mean, var = _normalize(x, eps, 1)
    return gamma * xhat + beta, (xhat, gamma, var, eps)

def layernorm_backward(dout, cache):
    xhat, gamma, var, eps = cache
    return _grad(dout * gamma, xhat, var, eps, 1), (dout * xhat).sum(0), dout.sum(0)

def batchnorm_forward(x, gamma, beta, bn_param):
    mode, eps, momentum = bn_param["mode"], bn_param.get("eps", 1e-5), bn_param.get("momentum", 0.9)
    for name in ("running_mean", "running_var"):
        bn_param.setdefault(name, np.zeros(x.shape[1], dtype=x.dtype))
    if mode == "test":
        scale = gamma / np.sqrt(bn_param["running_var"] + eps)
        return x * scale + (beta - bn_param["running_mean"] * scale), None
    xhat, mean, var = _normalize(x, eps, 0)
    for name, new in (("running_mean", mean), ("running_var", var)):
        bn_param[name] = momentum * bn_param[name] + (1 - momentum) * new.ravel()
    return gamma * xhat + beta, (xhat, gamma, var, eps)

def batchnorm_backward(dout, cache):
    xhat, gamma, var, eps = cache
    dgamma, dbeta = (dout * xhat).sum(0), dout.sum(0)
    return _grad(dout * gamma, xhat, var, eps, 0), dgamma, dbeta
"""

RIGHT["loops"] = """
import math
import numpy as np

def batchnorm_forward(x, gamma, beta, bn_param):
    n, d = x.shape
    eps, keep = bn_param["eps"], bn_param["momentum"]
    bn_param.setdefault("running_mean", np.zeros(d))
    bn_param.setdefault("running_var", np.zeros(d))
    out = np.zeros((n, d))
    cache = []
    for j in range(d):
        column = [float(v) for v in x[:, j]]
        if bn_param["mode"] == "train":
            m = sum(column) / n
            v = sum((c - m) ** 2 for c in column) / n
            bn_param["running_mean"][j] = keep * bn_param["running_mean"][j] + (1 - keep) * m
            bn_param["running_var"][j] = keep * bn_param["running_var"][j] + (1 - keep) * v
        else:
            m, v = bn_param["running_mean"][j], bn_param["running_var"][j]
        root = math.sqrt(v + eps)
        hat = [(c - m) / root for c in column]
        out[:, j] = [gamma[j] * h + beta[j] for h in hat]
        cache.append((hat, root, gamma[j]))
    return out, cache

def batchnorm_backward(dout, cache):
    n, d = dout.shape
    dx, dgamma, dbeta = np.zeros((n, d)), np.zeros(d), np.zeros(d)
    for j, (hat, root, g) in enumerate(cache):
        for i in range(n):
            dbeta[j] += dout[i, j]
            dgamma[j] += dout[i, j] * hat[i]
        for i in range(n):
            dx[i, j] = g / root * (dout[i, j] - dbeta[j] / n - hat[i] * dgamma[j] / n)
    return dx, dgamma, dbeta
"""

RIGHT["closure"] = """
import numpy as np

def batchnorm_forward(x, gamma, beta, bn_param):
    training = bn_param["mode"] == "train"
    eps = bn_param.get("eps", 1e-5)
    if training:
        mean = x.mean(0)
        var = np.square(x - mean).mean(0)
        p = bn_param.get("momentum", 0.9)
        old_mean = bn_param.get("running_mean", np.zeros_like(mean))
        old_var = bn_param.get("running_var", np.zeros_like(var))
        bn_param.update(running_mean=old_mean + (1 - p) * (mean - old_mean),
                        running_var=old_var + (1 - p) * (var - old_var))
    else:
        mean, var = bn_param["running_mean"], bn_param["running_var"]
    r = (var + eps) ** -0.5
    h = (x - mean) * r

    def pull_back(g):
        n = len(g)
        gh = g * gamma
        gvar = np.sum(gh * (x - mean), axis=0) * -0.5 * (var + eps) ** -1.5
        gmean = np.sum(-gh * r, axis=0) + gvar * np.mean(-2 * (x - mean), axis=0)
        return gh * r + gvar * 2 * (x - mean) / n + gmean / n, np.sum(g * h, axis=0), np.sum(g, axis=0)

    return gamma * h + beta, pull_back

def batchnorm_backward(dout, cache):
    return cache(dout)

def batchnorm_backward_alt(dout, cache):
    return cache(dout)
"""

RIGHT["einsum_spatial"] = """
import numpy as np

def spatial_batchnorm_forward(x, gamma, beta, bn_param):
    eps, momentum = bn_param.get("eps", 1e-5), bn_param.get("momentum", 0.9)
    N, C, H, W = x.shape
    mean_run = bn_param.get("running_mean", np.zeros(C))
    var_run = bn_param.get("running_var", np.zeros(C))
    g, b = gamma.reshape(1, C, 1, 1), beta.reshape(1, C, 1, 1)
    if bn_param["mode"] == "train":
        mean = x.mean(axis=(0, 2, 3), keepdims=True)
        var = x.var(axis=(0, 2, 3), keepdims=True)
        inv = 1 / np.sqrt(var + eps)
        xhat = (x - mean) * inv
        bn_param["running_mean"] = momentum * mean_run + (1 - momentum) * mean.reshape(C)
        bn_param["running_var"] = momentum * var_run + (1 - momentum) * var.reshape(C)
        return g * xhat + b, (xhat, g, inv)
    xhat = (x - mean_run.reshape(1, C, 1, 1)) / np.sqrt(var_run.reshape(1, C, 1, 1) + eps)
    return g * xhat + b, None

def spatial_batchnorm_backward(dout, cache):
    xhat, g, inv = cache
    M = dout.shape[0] * dout.shape[2] * dout.shape[3]
    dbeta = np.einsum("nchw->c", dout)
    dgamma = np.einsum("nchw,nchw->c", dout, xhat)
    dx = g * inv / M * (M * dout - dbeta.reshape(1, -1, 1, 1) - xhat * dgamma.reshape(1, -1, 1, 1))
    return dx, dgamma, dbeta

def batchnorm_forward(x, gamma, beta, bn_param):
    out, cache = spatial_batchnorm_forward(x[:, :, None, None], gamma, beta, bn_param)
    return out[:, :, 0, 0], cache

def batchnorm_backward(dout, cache):
    dx, dgamma, dbeta = spatial_batchnorm_backward(dout[:, :, None, None], cache)
    return dx[:, :, 0, 0], dgamma, dbeta
"""

RIGHT["global_mode"] = """
import numpy as np

TRAINING = True
EPS = 1e-5
KEEP = 0.9

def set_mode(param):
    global TRAINING, EPS, KEEP
    TRAINING, EPS, KEEP = param["mode"] == "train", param["eps"], param["momentum"]

def bn(x, gamma, beta, mean, var):
    if TRAINING:
        m, v = np.mean(x, 0), np.var(x, 0)
        mean[...] = KEEP * mean + (1 - KEEP) * m
        var[...] = KEEP * var + (1 - KEEP) * v
    else:
        m, v = mean, var
    z = (x - m) / np.sqrt(v + EPS)
    return z * gamma + beta, (z, v, gamma)

def batchnorm_forward(x, gamma, beta, bn_param):
    set_mode(bn_param)
    for name in ("running_mean", "running_var"):
        bn_param.setdefault(name, np.zeros_like(gamma))
    return bn(x, gamma, beta, bn_param["running_mean"], bn_param["running_var"])

def batchnorm_backward(dout, cache):
    z, v, gamma = cache
    n = z.shape[0]
    projection = np.eye(n) - 1 / n
    dz = dout * gamma
    dx = np.empty_like(z)
    for k in range(z.shape[1]):
        J = projection - np.outer(z[:, k], z[:, k]) / n
        dx[:, k] = J @ dz[:, k] / np.sqrt(v[k] + EPS)
    return dx, np.diag(dout.T @ z).copy(), np.ones(n) @ dout
"""
