# ruff: noqa: E501  (an edit is a line of source text)
"""Other people's manners: graphs of nine nodes, products with ones, loops over channels, closures for caches.

Each right solution is a source text; a slip is a change of it.  Labels were written before the check was
asked, and stand as they were written; what it said then is told in `tests/study/coursework/test_manners.py`.
"""

import textwrap

import numpy as np

RIGHT = {
    "nine nodes": """
def bn_fwd(x, gamma, beta, p):
    D = x.shape[1]
    eps = p.get("eps", 1e-5)
    mom = p.get("momentum", 0.9)
    r_mean = p.get("running_mean", np.zeros(D))
    r_var = p.get("running_var", np.zeros(D))
    if p["mode"] == "test":
        return (x - r_mean) / np.sqrt(r_var + eps) * gamma + beta, None
    N = len(x)
    ones = np.ones((1, N))
    mu = ones @ x / N
    xmu = x - mu
    sq = xmu * xmu
    var = ones @ sq / N
    sqrtvar = (var + eps) ** 0.5
    ivar = 1 / sqrtvar
    xhat = xmu * ivar
    gx = gamma * xhat
    out = gx + beta
    p["running_mean"] = mom * r_mean + (1 - mom) * mu[0]
    p["running_var"] = mom * r_var + (1 - mom) * var[0]
    return out, (xhat, gamma, xmu, ivar, sqrtvar, var, eps)

def bn_bwd(dout, cache):
    xhat, gamma, xmu, ivar, sqrtvar, var, eps = cache
    N, D = dout.shape
    dbeta = np.ones(N) @ dout
    dgx = dout
    dgamma = np.ones(N) @ (dgx * xhat)
    dxhat = dgx * gamma
    divar = np.ones((1, N)) @ (dxhat * xmu)
    dxmu1 = dxhat * ivar
    dsqrtvar = -1 / (sqrtvar ** 2) * divar
    dvar = 0.5 / np.sqrt(var + eps) * dsqrtvar
    dsq = 1 / N * np.ones((N, D)) * dvar
    dxmu2 = 2 * xmu * dsq
    dx1 = dxmu1 + dxmu2
    dmu = -1 * np.ones((1, N)) @ (dxmu1 + dxmu2)
    dx2 = 1 / N * np.ones((N, D)) * dmu
    dx = dx1 + dx2
    return dx, dgamma, dbeta
""",
    "compact": """
def bn_fwd(X, g, b, conf):
    e, k = conf["eps"], conf["momentum"]
    M, V = conf.setdefault("running_mean", np.zeros(X.shape[-1])), conf.setdefault("running_var", np.zeros(X.shape[-1]))
    if conf["mode"] == "train":
        m, v = X.mean(0), X.var(0)
        conf.update(running_mean=M + (1 - k) * (m - M), running_var=V + (1 - k) * (v - V))
    else:
        m, v = M, V
    r = 1.0 / np.sqrt(v + e)
    return g * ((X - m) * r) + b, {"X": X, "m": m, "r": r, "g": g}

def bn_bwd(dY, c):
    N = dY.shape[0]
    xc = c["X"] - c["m"]
    dg = np.sum(dY * xc * c["r"], 0)
    db = np.sum(dY, 0)
    dX = c["g"] * c["r"] / N * (N * dY - db - xc * c["r"] ** 2 * np.sum(dY * xc, axis=0))
    return dX, dg, db
""",
    "closure": """
def bn_fwd(inputs, weight, bias, state):
    eps = state["eps"]
    if state["mode"] == "test":
        z = (inputs - state["running_mean"]) / np.sqrt(state["running_var"] + eps)
        return weight * z + bias, None
    n = inputs.shape[0]
    mean = np.add.reduce(inputs) / n
    centred = inputs - mean
    std = np.sqrt(np.linalg.norm(centred, axis=0) ** 2 / n + eps)
    z = centred / std
    a = state["momentum"]
    old_mean, old_var = state.get("running_mean", 0 * mean), state.get("running_var", 0 * mean)
    state["running_mean"] = old_mean * a + mean * (1 - a)
    state["running_var"] = old_var * a + np.mean(centred ** 2, axis=0) * (1 - a)

    def grad(up):
        dz = up * weight
        dstd = -(dz * centred).sum(0) / std ** 2
        dcentred = dz / std + centred / (n * std) * dstd
        return dcentred - dcentred.mean(0), (up * z).sum(0), up.sum(0)

    return weight * z + bias, grad

def bn_bwd(up, grad):
    return grad(up)
""",
    "features": """
def bn_fwd(x, gamma, beta, bn):
    n, d = x.shape
    eps, mom = bn["eps"], bn["momentum"]
    rm = list(bn.get("running_mean", [0.0] * d))
    rv = list(bn.get("running_var", [0.0] * d))
    out, cache = np.zeros_like(x), []
    for j in range(d):
        col = x[:, j]
        if bn["mode"] == "train":
            mu = sum(col) / n
            var = sum((col - mu) ** 2) / n
            rm[j] = mom * rm[j] + (1 - mom) * mu
            rv[j] = mom * rv[j] + (1 - mom) * var
        else:
            mu, var = rm[j], rv[j]
        sd = np.sqrt(var + eps)
        xh = (col - mu) / sd
        out[:, j] = gamma[j] * xh + beta[j]
        cache.append((xh, sd, gamma[j]))
    bn["running_mean"], bn["running_var"] = np.array(rm), np.array(rv)
    return out, cache

def bn_bwd(dout, cache):
    n, d = dout.shape
    dx, dg, db = np.zeros_like(dout), np.zeros(d), np.zeros(d)
    for j, (xh, sd, g) in enumerate(cache):
        up = dout[:, j]
        dg[j] = up @ xh
        db[j] = up.sum()
        J = (np.eye(n) - 1 / n - np.outer(xh, xh) / n) * g / sd
        dx[:, j] = J.T @ up
    return dx, dg, db
""",
    "dvar dmean": """
def bn_fwd(x, gamma, beta, bn_param):
    eps, momentum = bn_param.get("eps", 1e-5), bn_param.get("momentum", 0.9)
    N, D = x.shape
    running_mean = bn_param.get("running_mean", np.zeros(D, dtype=x.dtype))
    running_var = bn_param.get("running_var", np.zeros(D, dtype=x.dtype))
    if bn_param["mode"] == "train":
        batch_mean = np.mean(x, axis=0)
        batch_var = np.var(x, axis=0)
        x_norm = (x - batch_mean) / np.sqrt(batch_var + eps)
        out = gamma * x_norm + beta
        cache = x, x_norm, batch_mean, batch_var, gamma, beta, eps
        running_mean = momentum * running_mean + (1 - momentum) * batch_mean
        running_var = momentum * running_var + (1 - momentum) * batch_var
    else:
        x_norm = (x - running_mean) / np.sqrt(running_var + eps)
        out = gamma * x_norm + beta
        cache = None
    bn_param["running_mean"] = running_mean
    bn_param["running_var"] = running_var
    return out, cache

def bn_bwd(dout, cache):
    x, x_norm, mean, var, gamma, beta, eps = cache
    N = x.shape[0]
    dgamma = np.sum(dout * x_norm, axis=0)
    dbeta = np.sum(dout, axis=0)
    dx_norm = dout * gamma
    dvar = np.sum(dx_norm * (x - mean) * (-0.5) * (var + eps) ** (-1.5), axis=0)
    dmean = np.sum(-dx_norm / np.sqrt(var + eps), axis=0) + dvar * np.sum(-2 * (x - mean), axis=0) / N
    dx = dx_norm / np.sqrt(var + eps) + dvar * 2.0 * (x - mean) / N + dmean / N
    return dx, dgamma, dbeta
""",
    "images by channel": """
def sp_fwd(x, gamma, beta, p):
    N, C, H, W = x.shape
    out, cache = np.empty_like(x), []
    rm, rv = np.array(p.get("running_mean", np.zeros(C))), np.array(p.get("running_var", np.zeros(C)))
    for c in range(C):
        plane = x[:, c]
        if p["mode"] == "train":
            mu, var = plane.mean(), plane.var()
            rm[c] = p["momentum"] * rm[c] + (1 - p["momentum"]) * mu
            rv[c] = p["momentum"] * rv[c] + (1 - p["momentum"]) * var
        else:
            mu, var = rm[c], rv[c]
        s = np.sqrt(var + p["eps"])
        hat = (plane - mu) / s
        out[:, c] = gamma[c] * hat + beta[c]
        cache.append((hat, s, gamma[c]))
    p["running_mean"], p["running_var"] = rm, rv
    return out, cache

def sp_bwd(dout, cache):
    dx = np.empty_like(dout)
    dg, db = np.zeros(len(cache)), np.zeros(len(cache))
    for c, (hat, s, g) in enumerate(cache):
        d = dout[:, c]
        dg[c], db[c] = (d * hat).sum(), d.sum()
        dx[:, c] = g / s * (d - d.mean() - hat * (d * hat).mean())
    return dx, dg, db
""",
    "images by keepdims": """
def sp_fwd(x, gamma, beta, p):
    ax = (0, 2, 3)
    w = lambda a: a[None, :, None, None]
    e, k = p["eps"], p["momentum"]
    rm, rv = p.get("running_mean", np.zeros(x.shape[1])), p.get("running_var", np.zeros(x.shape[1]))
    if p["mode"] != "train":
        return w(gamma) * (x - w(rm)) / np.sqrt(w(rv) + e) + w(beta), None
    mu = x.mean(axis=ax, keepdims=True)
    var = x.var(axis=ax, keepdims=True)
    p["running_mean"] = k * rm + (1 - k) * np.squeeze(mu)
    p["running_var"] = k * rv + (1 - k) * np.squeeze(var)
    ivar = 1 / np.sqrt(var + e)
    xh = (x - mu) * ivar
    return w(gamma) * xh + w(beta), (xh, ivar, w(gamma))

def sp_bwd(dout, cache):
    xh, ivar, g = cache
    ax = (0, 2, 3)
    m = dout.size / dout.shape[1]
    dxh = dout * g
    dx = ivar / m * (m * dxh - dxh.sum(axis=ax, keepdims=True) - xh * (dxh * xh).sum(axis=ax, keepdims=True))
    return dx, (dout * xh).sum(axis=ax), dout.sum(axis=ax)
""",
    "images rearranged": """
def flat(a):
    return np.moveaxis(a, 1, -1).reshape(-1, a.shape[1])

def unflat(a, like):
    n, c, h, w = like.shape
    return np.moveaxis(a.reshape(n, h, w, c), -1, 1)

def sp_fwd(x, gamma, beta, p):
    out, cache = bn_fwd(flat(x), gamma, beta, p)
    return unflat(out, x), cache

def sp_bwd(dout, cache):
    dx, dgamma, dbeta = bn_bwd(flat(dout), cache)
    return unflat(dx, dout), dgamma, dbeta
""",
    "one dict": """
def bn_fwd(x, gamma, beta, bn_param):
    mode=bn_param['mode']; eps=bn_param.get('eps',1e-5); mom=bn_param.get('momentum',0.9)
    N,D=x.shape
    rm=bn_param.get('running_mean',np.zeros(D,dtype=x.dtype)); rv=bn_param.get('running_var',np.zeros(D,dtype=x.dtype))
    if mode=='train':
        mu=x.sum(axis=0)/N; v=((x-mu)**2).sum(axis=0)/N
        std=np.sqrt(v+eps); xn=(x-mu)/std; out=gamma*xn+beta
        rm=mom*rm+(1-mom)*mu; rv=mom*rv+(1-mom)*v
        cache=dict(std=std,xn=xn,gamma=gamma,N=N)
    else:
        out=gamma*(x-rm)/np.sqrt(rv+eps)+beta; cache=None
    bn_param['running_mean']=rm; bn_param['running_var']=rv
    return out,cache

def bn_bwd(dout, cache):
    std,xn,gamma,N=cache['std'],cache['xn'],cache['gamma'],cache['N']
    dg=(dout*xn).sum(0); db=dout.sum(0)
    dx=(gamma/(N*std))*(N*dout-xn*dg-db)
    return dx,dg,db
""",
    "tiles": """
def bn_fwd(x, gamma, beta, bn_param):
    mode=bn_param['mode']; eps=bn_param.get('eps',1e-5); mom=bn_param.get('momentum',0.9)
    N,D=x.shape
    rm=bn_param.get('running_mean',np.zeros(D,dtype=x.dtype)); rv=bn_param.get('running_var',np.zeros(D,dtype=x.dtype))
    if mode=='train':
        mu=x.sum(axis=0)/N; v=((x-mu)**2).sum(axis=0)/N
        std=np.sqrt(v+eps); xn=(x-mu)/std; out=gamma*xn+beta
        rm=mom*rm+(1-mom)*mu; rv=mom*rv+(1-mom)*v
        cache=dict(std=std,xn=xn,gamma=gamma,N=N)
    else:
        out=gamma*(x-rm)/np.sqrt(rv+eps)+beta; cache=None
    bn_param['running_mean']=rm; bn_param['running_var']=rv
    return out,cache

def bn_bwd(dout, cache):
    std,xn,g,N=cache['std'],cache['xn'],cache['gamma'],cache['N']
    d=dout*g
    dx=(d - np.tile(d.mean(0),(N,1)) - xn*np.tile((d*xn).mean(0),(N,1)))/std
    return dx, np.einsum('ij,ij->j',dout,xn), np.einsum('ij->j',dout)
""",
    "width first": """
def sp_fwd(x,g,b,p):
    N,C,H,W=x.shape
    o,c=bn_fwd(np.transpose(x,(0,3,2,1)).reshape(N*H*W,C),g,b,p)
    return np.transpose(o.reshape(N,W,H,C),(0,3,2,1)),c

def sp_bwd(d,c):
    N,C,H,W=d.shape
    dx,a,b=bn_bwd(np.transpose(d,(0,3,2,1)).reshape(N*H*W,C),c)
    return np.transpose(dx.reshape(N,W,H,C),(0,3,2,1)),a,b
""",
    "grad names": """
def bn_fwd(x, gamma, beta, p):
    eps = p["eps"]; m = p["momentum"]
    if p["mode"] == "train":
        sample_mean = np.mean(x, axis=0)
        diff = x - sample_mean
        sample_var = np.mean(np.square(diff), axis=0)
        denom = np.sqrt(sample_var + eps)
        norm = diff / denom
        y = norm * gamma + beta
        if "running_mean" not in p:
            p["running_mean"] = np.zeros_like(sample_mean); p["running_var"] = np.zeros_like(sample_var)
        p["running_mean"] = p["running_mean"] * m + sample_mean * (1.0 - m)
        p["running_var"] = p["running_var"] * m + sample_var * (1.0 - m)
        return y, (gamma, diff, denom, norm)
    denom_t = np.sqrt(p["running_var"] + eps)
    norm_t = (x - p["running_mean"]) / denom_t
    return norm_t * gamma + beta, None

def bn_bwd(dout, cache):
    gamma, diff, denom, norm = cache
    k = dout.shape[0]
    grad_beta = dout.sum(axis=0)
    grad_gamma = (norm * dout).sum(axis=0)
    grad_norm = gamma * dout
    grad_denom = -(grad_norm * diff).sum(axis=0) / denom ** 2
    grad_var = grad_denom * 0.5 / denom
    grad_diff = grad_norm / denom + 2.0 / k * diff * grad_var
    grad_mean = -grad_diff.sum(axis=0)
    grad_x = grad_diff + grad_mean / k
    return grad_x, grad_gamma, grad_beta
""",
}
# Solutions of images that need a 2-D one beside them.
BESIDE = {"images rearranged": "compact", "width first": "one dict"}
ROLES = {"forward": "bn_fwd", "backward": "bn_bwd", "spatial_forward": "sp_fwd", "spatial_backward": "sp_bwd"}


def text(manner, *changes):
    """The text of a manner after changes; each must meet the text that it is for."""
    source = (RIGHT[BESIDE[manner]] if manner in BESIDE else "") + RIGHT[manner]
    for old, new in changes:
        assert old in source, f"{old!r} is not in {manner}"
        source = source.replace(old, new)
    return textwrap.dedent(source)


def functions(manner, *changes):
    """The functions of a manner after changes of its text."""
    namespace = {"np": np}
    exec(compile(text(manner, *changes), f"<{manner}>", "exec"), namespace)
    return {role: namespace[name] for role, name in ROLES.items() if name in namespace}


def as_file(manner, changes):
    """The text of a file, and the names of its functions by role."""
    functions_there = {role: name for role, name in ROLES.items() if f"def {name}(" in text(manner, *changes)}
    return f"import numpy as np\n{text(manner, *changes)}", functions_there


# (manner, changes, what each wrong part may be called).  A part that is not listed must not be accused.
SLIPS = [
    ("nine nodes", [("sqrtvar = (var + eps) ** 0.5", "sqrtvar = var ** 0.5 + eps")], {"training": {"epsilon-outside"}}),
    (
        "nine nodes",
        [
            ("mom * r_var + (1 - mom) * var[0]", "mom * r_var + (1 - mom) * sqrtvar[0]"),
            ("np.sqrt(r_var + eps)", "r_var"),
        ],
        {"statistics": {"deviation-stored"}},
    ),
    (
        "nine nodes",
        [
            ("mom * r_var + (1 - mom) * var[0]", "mom * r_var + (1 - mom) * ivar[0]"),
            ("/ np.sqrt(r_var + eps)", "* r_var"),
        ],
        {"statistics": {"inverse-deviation-stored"}},
    ),
    (
        "nine nodes",
        [
            (
                'p["running_mean"] = mom * r_mean + (1 - mom) * mu[0]',
                'p["running_mean"] = mom * r_mean + (1 - mom) * mu',
            ),
            ("+ (1 - mom) * var[0]", "+ (1 - mom) * var"),
        ],
        {"statistics": {"average-shape"}},
    ),
    (
        "nine nodes",
        [("dgamma = np.ones(N) @ (dgx * xhat)", "dgamma = dgx.T @ xhat")],
        {"backward": {"gradient-matrix"}},
    ),
    (
        "nine nodes",
        [("dvar = 0.5 / np.sqrt(var + eps) * dsqrtvar", "dvar = 0.5 / np.sqrt(var) * dsqrtvar")],
        {"backward": {"epsilon-missing"}},
    ),
    (
        "nine nodes",
        [("dmu = -1 * np.ones((1, N)) @ (dxmu1 + dxmu2)", "dmu = -1 * (dxmu1 + dxmu2)")],
        {"backward": {"mean-not-summed", "diagonal-only", "gradient-terms"}},
    ),
    (
        "nine nodes",
        [("divar = np.ones((1, N)) @ (dxhat * xmu)", "divar = dxhat * xmu")],
        {"backward": {"variance-not-summed"}},
    ),
    (
        "nine nodes",
        [("xhat, gamma, xmu, ivar, sqrtvar, var, eps = cache", "gamma, xhat, xmu, ivar, sqrtvar, var, eps = cache")],
        {"backward": {"cache-order", "dscale-from-dout", "unexplained-parameter", "parameter-times-scale"}},
    ),
    (
        "nine nodes",
        [("dsqrtvar = -1 / (sqrtvar ** 2) * divar", "dsqrtvar = divar")],
        {"backward": {"variance-path-factor"}},
    ),
    ("nine nodes", [("dx = dx1 + dx2", "dx = dx1")], {"backward": {"mean-path-missing"}}),
    (
        "nine nodes",
        [
            (
                '    p["running_mean"] = mom * r_mean + (1 - mom) * mu[0]\n    p["running_var"] = mom * r_var + (1 - mom) * var[0]\n',
                "",
            )
        ],
        {"statistics": {"averages-never-updated", "average-missing"}},
    ),
    (
        "compact",
        [("r = 1.0 / np.sqrt(v + e)", "r = 1.0 / np.sqrt(v) ")],
        {"training": {"epsilon-missing"}, "test": {"epsilon-missing"}},
    ),
    (
        "compact",
        [("g * ((X - m) * r) + b", "g * ((X - m) * r + e) + b"), ("np.sqrt(v + e)", "np.sqrt(v)")],
        {"training": {"epsilon-on-quotient"}, "test": {"epsilon-on-quotient"}},
    ),
    (
        "compact",
        [
            ("running_var=V + (1 - k) * (v - V)", "running_var=V + k * (v - V)"),
            ("running_mean=M + (1 - k) * (m - M)", "running_mean=M + k * (m - M)"),
        ],
        {"statistics": {"momentum-swapped"}},
    ),
    ("compact", [("return dX, dg, db", "return dX, db, dg")], {"backward": {"parameters-swapped"}}),
    ("compact", [("return dX, dg, db", "return dX, db / N, dg / N")], {"backward": {"parameters-swapped"}}),
    ("compact", [("N * dY - db -", "dY - db -")], {"backward": {"direct-path-factor", "mean-path-factor"}}),
    ("compact", [('xc * c["r"] ** 2 * np', 'xc * c["r"] * np')], {"backward": {"variance-path-factor"}}),
    ("compact", [('dX = c["g"] * c["r"] / N', 'dX = c["g"] / c["r"] / N')], {"backward": {"deviation-power-in-dx"}}),
    ("compact", [('"r": r, "g": g', '"r": r, "g": b')], {"backward": {"offset-in-dx"}}),
    ("compact", [('dX = c["g"] * c["r"] / N', 'dX = c["g"] * c["g"] / N')], {"backward": {"cache-order"}}),
    ("compact", [("np.sum(dY * xc, axis=0))", "np.sum(dY * xc))")], {"backward": {"features-mixed-in-dx"}}),
    (
        "compact",
        [("else:\n        m, v = M, V", "else:\n        m, v = X.mean(0), V")],
        {"test": {"batch-mean-in-test"}},
    ),
    (
        "closure",
        [("dstd = -(dz * centred).sum(0) / std ** 2", "dstd = -(dz * inputs).sum(0) / std ** 2")],
        {"backward": {"x-in-variance-sum"}},
    ),
    ("closure", [("centred / (n * std) * dstd", "1 / (n * std) * dstd")], {"backward": {"variance-path-missing"}}),
    (
        "closure",
        [("dcentred - dcentred.mean(0), (up * z)", "dcentred - dcentred.mean(0), (up * inputs)")],
        {"backward": {"dscale-from-x"}},
    ),
    (
        "closure",
        [
            (
                "std = np.sqrt(np.linalg.norm(centred, axis=0) ** 2 / n + eps)",
                "std = np.sqrt(np.linalg.norm(centred, axis=0) / n + eps)",
            )
        ],
        {"training": {"deviation-under-root", "unexplained-output", "variance-factor"}},
    ),
    (
        "closure",
        [
            (
                "std = np.sqrt(np.linalg.norm(centred, axis=0) ** 2 / n + eps)",
                "std = np.linalg.norm(centred, axis=0) + eps",
            )
        ],
        {"training": {"variance-not-averaged"}},
    ),
    ("closure", [("return weight * z + bias, grad", "return None, grad")], {"training": {"result-none"}}),
    (
        "closure",
        [("old_mean * a + mean * (1 - a)", "old_mean * a + inputs.mean() * (1 - a)")],
        {"statistics": {"global-stored"}},
    ),
    (
        "features",
        [
            ("rv[j] = mom * rv[j] + (1 - mom) * var", "rv[j] = mom * rv[j] + (1 - mom) * (var + eps)"),
            (
                "mu, var = rm[j], rv[j]\n        sd = np.sqrt(var + eps)",
                "mu, var = rm[j], rv[j] - eps\n        sd = np.sqrt(var + eps)",
            ),
        ],
        {"statistics": {"epsilon-in-variance"}},
    ),
    ("features", [("rv[j] = mom * rv[j]", "rv[j] = mom * rm[j]")], {"statistics": {"averages-decay-from-other"}}),
    ("features", [("db[j] = up.sum()", "db[j] = 1.0")], {"backward": {"parameter-ignores-dout"}}),
    (
        "features",
        [("(np.eye(n) - 1 / n - np.outer(xh, xh) / n)", "(np.eye(n) - 1 / n) * (1 - np.outer(xh, xh) / n)")],
        {"backward": {"*"}},
    ),
    ("features", [("dx[:, j] = J.T @ up", "dx[:, j] = np.diag(J) * up")], {"backward": {"diagonal-only"}}),
    (
        "features",
        [("dx[:, j] = J.T @ up", "dx[:, j] = J.sum(0)")],
        {"backward": {"dout-ignored", "dx-zero", "not-linear"}},
    ),
    (
        "features",
        [("out[:, j] = gamma[j] * xh + beta[j]", "out[:, j] = xh")],
        {"training": {"affine-missing"}, "test": {"affine-missing"}},
    ),
    ("dvar dmean", [("(var + eps) ** (-1.5)", "(gamma + eps) ** (-1.5)")], {"backward": {"dx-not-a-number"}}),
    (
        "dvar dmean",
        [("+ dvar * 2.0 * (x - mean) / N + dmean / N", "+ dvar * (x - mean) / N + dmean / N")],
        {"backward": {"variance-path-factor"}},
    ),
    ("dvar dmean", [("dx_norm = dout * gamma", "dx_norm = dout")], {"backward": {"scale-missing-in-dx"}}),
    (
        "dvar dmean",
        [("x, x_norm, mean, var, gamma, beta, eps = cache", "x, x_norm, mean, var, beta, gamma, eps = cache")],
        {"backward": {"offset-in-dx"}},
    ),
    (
        "dvar dmean",
        [
            ("dbeta = np.sum(dout, axis=0)", "dbeta = np.sum(dout, axis=0, keepdims=True)"),
            ("dgamma = np.sum(dout * x_norm, axis=0)", "dgamma = np.sum(dout * x_norm, axis=0, keepdims=True)"),
        ],
        {"backward": {"gradient-shape"}},
    ),
    ("dvar dmean", [("dbeta = np.sum(dout, axis=0)", "dbeta = dout")], {"backward": {"gradient-not-summed"}}),
    (
        "dvar dmean",
        [
            ("batch_var = np.var(x, axis=0)", "batch_var = np.var(x, axis=0) + eps"),
            ("np.sqrt(batch_var + eps)", "np.sqrt(batch_var)"),
            ("np.sqrt(running_var + eps)", "np.sqrt(running_var)"),
            ("(var + eps)", "(var)"),
        ],
        {"statistics": {"epsilon-in-variance"}},
    ),
    (
        "dvar dmean",
        [
            ("batch_mean = np.mean(x, axis=0)", "batch_mean = np.mean(x)"),
            ("batch_var = np.var(x, axis=0)", "batch_var = np.var(x)"),
        ],
        {"training": {"global-mean", "global-variance"}, "statistics": {"global-mean", "global-variance"}},
    ),
    (
        "dvar dmean",
        [("out = gamma * x_norm + beta\n        cache = x,", "out = gamma * (x_norm + beta)\n        cache = x,")],
        {"training": {"offset-inside-scale"}},
    ),
    (
        "dvar dmean",
        [
            (
                "        running_var = momentum * running_var + (1 - momentum) * batch_var\n    else:",
                "        running_var = momentum * running_var + (1 - momentum) * np.std(x, axis=0)\n    else:",
            )
        ],
        {"statistics": {"deviation-stored"}},
    ),
    (
        "dvar dmean",
        [
            (
                "x_norm = (x - running_mean)",
                "running_mean = momentum * running_mean + (1 - momentum) * x.mean(0)\n        x_norm = (x - running_mean)",
            )
        ],
        {"test": {"averages-move-in-test", "test-after-update"}},
    ),
    (
        "dvar dmean",
        [('eps, momentum = bn_param.get("eps", 1e-5)', 'eps, momentum = bn_param.get("epsilon", 1e-5)')],
        {"training": {"epsilon-fixed"}, "test": {"epsilon-fixed"}},
    ),
    (
        "images by channel",
        [("mu, var = plane.mean(), plane.var()", "mu, var = plane.mean(), plane.var(ddof=1)")],
        {"spatial": {"sample-variance"}},
    ),
    ("images by channel", [("- d.mean() -", "- d.sum() / len(d) -")], {"spatial": {"count-without-positions"}}),
    ("images by channel", [("g / s * (d", "1 / s * (d")], {"spatial": {"scale-missing-in-dx"}}),
    (
        "images by keepdims",
        [
            ("ax = (0, 2, 3)\n    w", "ax = (0,)\n    w"),
            ("np.squeeze(mu)", "mu[0].mean((1, 2))"),
            ("np.squeeze(var)", "var[0].mean((1, 2))"),
        ],
        {"spatial": {"position-statistics"}},
    ),
    (
        "images by keepdims",
        [
            ("ax = (0, 2, 3)\n    w", "ax = 0\n    w"),
            ("np.squeeze(mu)", "mu[0]"),
            ("np.squeeze(var)", "var[0]"),
            ("np.zeros(x.shape[1])", "np.zeros(x.shape[1:])"),
        ],
        {"spatial": {"position-statistics"}},
    ),
    (
        "images by keepdims",
        [
            ("ax = (0, 2, 3)\n    w", "ax = (2, 3)\n    w"),
            ("np.squeeze(mu)", "mu.mean(0).ravel()"),
            ("np.squeeze(var)", "var.mean(0).ravel()"),
        ],
        {"spatial": {"instance-statistics"}},
    ),
    ("images by keepdims", [("np.squeeze(mu)", "mu"), ("np.squeeze(var)", "var")], {"spatial": {"average-broadcast"}}),
    (
        "images rearranged",
        [
            ("return np.moveaxis(a, 1, -1).reshape(-1, a.shape[1])", "return a.reshape(-1, a.shape[1])"),
            ("np.moveaxis(a.reshape(n, h, w, c), -1, 1)", "a.reshape(n, c, h, w)"),
        ],
        {"spatial": {"channels-mixed"}},
    ),
    (
        "images rearranged",
        [("np.moveaxis(a.reshape(n, h, w, c), -1, 1)", "a.reshape(n, c, h, w)")],
        {"spatial": {"put-back-wrong"}},
    ),
    (
        "images rearranged",
        [("return unflat(dx, dout), dgamma", "return dx.reshape(dout.shape), dgamma")],
        {"spatial": {"images-dx-put-back"}},
    ),
    # Written after those above had been taught.
    (
        "one dict",
        [("v=((x-mu)**2).sum(axis=0)/N", "v=np.sqrt(((x-mu)**2).sum(axis=0)/N)")],
        {"training": {"deviation-under-root"}, "statistics": {"deviation-under-root"}},
    ),
    (
        "one dict",
        [("v=((x-mu)**2).sum(axis=0)/N", "v=((x-mu)**2).sum(axis=0)/(N-1)")],
        {"training": {"sample-variance"}},
    ),
    (
        "one dict",
        [("std=np.sqrt(v+eps)", "std=np.sqrt(v+eps)+eps")],
        {"training": {"epsilon-outside", "epsilon-twice", "epsilon-unknown"}},
    ),
    ("one dict", [("xn=(x-mu)/std", "xn=x-mu/std")], {"training": {"mean-divided"}}),
    ("one dict", [("out=gamma*xn+beta", "out=gamma*xn+beta*xn")], {"training": {"*"}}),
    ("one dict", [("out=gamma*xn+beta", "out=xn*beta+gamma")], {"training": {"affine-exchanged"}}),
    ("one dict", [("mu=x.sum(axis=0)/N", "mu=x.sum(axis=1).sum()/N")], {"training": {"*"}, "statistics": {"*"}}),
    ("one dict", [("rm=mom*rm+(1-mom)*mu", "rm=mom*mu+(1-mom)*rm")], {"statistics": {"momentum-swapped"}}),
    ("one dict", [("rv=mom*rv+(1-mom)*v", "rv=mom*rv+(1-mom)*v*v")], {"statistics": {"variance-squared-stored"}}),
    ("one dict", [("rv=mom*rv+(1-mom)*v", "rv=mom*rv+(1-mom)*std**2")], {"statistics": {"epsilon-in-variance"}}),
    (
        "one dict",
        [("rv=mom*rv+(1-mom)*v", "rv=mom*rv+(1-mom)*std**2"), ("/np.sqrt(rv+eps)", "/np.sqrt(rv)")],
        {"statistics": {"epsilon-in-variance"}},
    ),
    (
        "one dict",
        [("rv=mom*rv+(1-mom)*v", "rv=mom*rv+(1-mom)*std"), ("/np.sqrt(rv+eps)", "/(rv+eps)")],
        {"statistics": {"deviation-stored"}, "test": {"epsilon-twice", "epsilon-outside"}},
    ),
    ("one dict", [("/np.sqrt(rv+eps)+beta", "/np.sqrt(rv+eps)")], {"test": {"offset-missing"}}),
    (
        "one dict",
        [("out=gamma*(x-rm)/np.sqrt(rv+eps)+beta", "out=(x-rm)/np.sqrt(rv+eps)")],
        {"test": {"affine-missing"}},
    ),
    (
        "one dict",
        [("out=gamma*(x-rm)/np.sqrt(rv+eps)+beta", "out=gamma*(x-rm/np.sqrt(rv+eps))+beta")],
        {"test": {"mean-divided"}},
    ),
    (
        "one dict",
        [("    else:\n", "    else:\n        rm=mom*rm+(1-mom)*x.mean(0); rv=mom*rv+(1-mom)*x.var(0)\n")],
        {"test": {"averages-move-in-test", "test-after-update"}},
    ),
    (
        "one dict",
        [("    bn_param['running_mean']=rm; bn_param['running_var']=rv\n", "    bn_param['running_mean']=rm\n")],
        {"statistics": {"averages-never-updated"}},
    ),
    (
        "one dict",
        [
            ("mu=x.sum(axis=0)/N", "mu=x.sum(axis=0,keepdims=True)/N"),
            ("v=((x-mu)**2).sum(axis=0)/N", "v=((x-mu)**2).sum(axis=0,keepdims=True)/N"),
        ],
        {"statistics": {"average-shape"}},
    ),
    ("one dict", [("rm=mom*rm+(1-mom)*mu", "rm=(rm+mu)/2")], {"statistics": {"momentum-fixed"}}),
    ("one dict", [("return dx,dg,db", "return dx,dg")], {"backward": {"type"}}),
    ("one dict", [("return dx,dg,db", "return dx,dg/N,db/N")], {"backward": {"gradients-averaged"}}),
    ("one dict", [("return dx,dg,db", "return dx,db,dg")], {"backward": {"parameters-swapped"}}),
    ("one dict", [("(gamma/(N*std))", "(gamma*std/N)")], {"backward": {"deviation-power-in-dx"}}),
    ("one dict", [("N*dout-xn*dg-db", "N*dout-xn*dg+db")], {"backward": {"mean-path-sign"}}),
    ("one dict", [("N*dout-xn*dg-db", "N*dout-dg-db")], {"backward": {"variance-path-uncentred"}}),
    ("one dict", [("N*dout-xn*dg-db", "N*dout-xn*db-dg")], {"backward": {"*"}}),
    ("one dict", [("N*dout-xn*dg-db", "N*dout-xn*dg.sum()-db")], {"backward": {"features-mixed-in-dx"}}),
    ("one dict", [("dg=(dout*xn).sum(0)", "dg=dout*xn")], {"backward": {"gradient-not-summed", "variance-not-summed"}}),
    (
        "one dict",
        [("dg=(dout*xn).sum(0); db=dout.sum(0)", "dg=(dout*xn).sum(1); db=dout.sum(1)")],
        {"backward": {"raised"}},
    ),
    ("one dict", [("(gamma/(N*std))", "(1/(N*std))")], {"backward": {"scale-missing-in-dx"}}),
    (
        "one dict",
        [
            (
                "std,xn,gamma,N=cache['std'],cache['xn'],cache['gamma'],cache['N']",
                "gamma,xn,std,N=cache['std'],cache['xn'],cache['gamma'],cache['N']",
            )
        ],
        {"backward": {"cache-order"}},
    ),
    (
        "one dict",
        [("dx=(gamma/(N*std))*(N*dout-xn*dg-db)", "dx=gamma*dout/std")],
        {"backward": {"statistics-constant"}},
    ),
    (
        "one dict",
        [("dx=(gamma/(N*std))*(N*dout-xn*dg-db)", "dx=gamma/std*(1-1/N-xn**2/N)*dout")],
        {"backward": {"diagonal-only"}},
    ),
    (
        "one dict",
        [("dx=(gamma/(N*std))*(N*dout-xn*dg-db)", "dx=(gamma/(N*std))*(N*dout-xn*dg-db); dx[:]=0")],
        {"backward": {"dx-zero"}},
    ),
    (
        "one dict",
        [("db=dout.sum(0)", "db=np.ones_like(gamma)")],
        {"backward": {"parameter-ignores-dout", "mean-path-missing"}},
    ),
    ("one dict", [("return dx,dg,db", "return dx,gamma*dg,db")], {"backward": {"parameter-times-scale"}}),
    ("one dict", [("N*dout-xn*dg-db", "N*dout-xn*dg-db+1")], {"backward": {"not-linear", "dout-ignored"}}),
    ("tiles", [("d.mean(0)", "d.sum(0)")], {"backward": {"mean-path-factor"}}),
    ("tiles", [("(d*xn).mean(0)", "(d*xn*xn).mean(0)")], {"backward": {"variance-sum-without-factor"}}),
    ("tiles", [("d=dout*g\n", "d=dout*g*g\n")], {"backward": {"scale-power-in-dx"}}),
    (
        "width first",
        [("np.transpose(x,(0,3,2,1)).reshape(N*H*W,C)", "x.reshape(N*H*W,C)")],
        {"spatial": {"channels-mixed", "put-back-wrong"}},
    ),
    (
        "width first",
        [("np.transpose(x,(0,3,2,1)).reshape(N*H*W,C)", "np.transpose(x,(0,2,3,1)).reshape(N*H*W,C)")],
        {"spatial": {"put-back-wrong"}},
    ),
    ("width first", [("(0,3,2,1)),a,b", "(0,3,1,2)),a,b")], {"spatial": {"dx-missing", "images-dx-put-back"}}),
    (
        "width first",
        [("np.transpose(d,(0,3,2,1)).reshape(N*H*W,C)", "np.transpose(d,(0,2,3,1)).reshape(N*H*W,C)")],
        {"spatial": {"images-dout-gathered", "images-dx"}},
    ),
    # And after those.
    (
        "grad names",
        [("denom = np.sqrt(sample_var + eps)", "denom = np.sqrt(sample_var) ")],
        {"training": {"epsilon-missing"}},
    ),
    (
        "grad names",
        [("np.mean(np.square(diff), axis=0)", "np.mean(np.square(x), axis=0)")],
        {"training": {"variance-uncentred"}, "statistics": {"variance-uncentred"}},
    ),
    (
        "grad names",
        [("np.mean(np.square(diff), axis=0)", "np.mean(np.abs(diff), axis=0)")],
        {"training": {"absolute-deviation"}, "statistics": {"absolute-deviation"}},
    ),
    ("grad names", [("diff = x - sample_mean", "diff = sample_mean - x")], {"training": {"scale-negated"}}),
    ("grad names", [("norm = diff / denom", "norm = diff * denom")], {"training": {"multiplied-by-deviation"}}),
    ("grad names", [("y = norm * gamma + beta", "y = (norm + beta) * gamma")], {"training": {"offset-inside-scale"}}),
    ("grad names", [("sample_mean * (1.0 - m)", "sample_mean * 1.0 - m")], {"statistics": {"*"}}),
    (
        "grad names",
        [
            ("sample_var * (1.0 - m)", "np.sqrt(sample_var) * (1.0 - m)"),
            ('denom_t = np.sqrt(p["running_var"] + eps)', 'denom_t = p["running_var"] + eps'),
        ],
        {"statistics": {"deviation-stored"}, "test": {"epsilon-outside"}},
    ),
    (
        "grad names",
        [
            ("sample_var * (1.0 - m)", "denom ** 2 * (1.0 - m)"),
            ('p["running_var"] + eps)\n    norm_t', 'p["running_var"])\n    norm_t'),
        ],
        {"statistics": {"epsilon-in-variance"}},
    ),
    ("grad names", [("return norm_t * gamma + beta, None", "return norm_t, None")], {"test": {"affine-missing"}}),
    (
        "grad names",
        [('norm_t = (x - p["running_mean"])', "norm_t = (x - np.mean(x, axis=0))")],
        {"test": {"batch-mean-in-test"}},
    ),
    (
        "grad names",
        [('denom_t = np.sqrt(p["running_var"] + eps)', 'denom_t = np.sqrt(p["running_var"] ** 2 + eps)')],
        {"test": {"square-under-root"}},
    ),
    (
        "grad names",
        [("grad_mean = -grad_diff.sum(axis=0)", "grad_mean = -(grad_norm / denom).sum()")],
        {"backward": {"features-mixed-in-dx"}},
    ),
    (
        "grad names",
        [("grad_x = grad_diff + grad_mean / k", "grad_x = grad_diff - grad_mean / k")],
        {"backward": {"mean-path-sign"}},
    ),
    ("grad names", [("2.0 / k * diff * grad_var", "2.0 * diff * grad_var")], {"backward": {"variance-path-factor"}}),
    (
        "grad names",
        [("grad_var = grad_denom * 0.5 / denom", "grad_var = grad_denom * 0.5 * denom")],
        {"backward": {"variance-path-factor"}},
    ),
    (
        "grad names",
        [("grad_norm / denom + 2.0", "grad_norm * denom + 2.0")],
        {"backward": {"deviation-powers"}},
    ),
    ("grad names", [("gamma, diff, denom, norm = cache", "gamma, norm, denom, diff = cache")], {"backward": {"*"}}),
    (
        "grad names",
        [("gamma, diff, denom, norm = cache", "denom, diff, gamma, norm = cache")],
        {"backward": {"cache-order"}},
    ),
    (
        "grad names",
        [("grad_gamma = (norm * dout).sum(axis=0)", "grad_gamma = (norm * dout).mean(axis=0)")],
        {"backward": {"gradients-averaged"}},
    ),
    (
        "grad names",
        [("grad_gamma = (norm * dout).sum(axis=0)", "grad_gamma = (diff * dout).sum(axis=0)")],
        {"backward": {"dscale-not-divided"}},
    ),
    (
        "grad names",
        [("grad_gamma = (norm * dout).sum(axis=0)", "grad_gamma = np.dot(norm.T, dout)")],
        {"backward": {"gradient-matrix"}},
    ),
    (
        "grad names",
        [("return grad_x, grad_gamma, grad_beta", "return grad_norm, grad_gamma, grad_beta")],
        {"backward": {"*"}},
    ),
    (
        "grad names",
        [("return grad_x, grad_gamma, grad_beta", "return grad_diff, grad_gamma, grad_beta")],
        {"backward": {"mean-path-missing"}},
    ),
    (
        "grad names",
        [("return grad_x, grad_gamma, grad_beta", "return grad_x, grad_gamma, None")],
        {"backward": {"parameter-missing"}},
    ),
    (
        "grad names",
        [("denom = np.sqrt(sample_var + eps)", "denom = np.power(sample_var + eps, 0.25)")],
        {"training": {"root-twice"}},
    ),
    (
        "grad names",
        [("np.mean(np.square(diff), axis=0)", "np.mean(np.square(diff))")],
        {"training": {"global-variance"}, "statistics": {"global-variance"}},
    ),
    ("grad names", [('eps = p["eps"]', "eps = 1e-8")], {"training": {"epsilon-fixed"}, "test": {"epsilon-fixed"}}),
    (
        "grad names",
        [('if p["mode"] == "train":', "if True:")],
        {"test": {"test-trains"}},
    ),
    (
        "grad names",
        [('p["running_mean"] = p["running_mean"] * m + sample_mean * (1.0 - m)', 'p["running_mean"] = sample_mean')],
        {"statistics": {"averages-overwritten"}},
    ),
]
