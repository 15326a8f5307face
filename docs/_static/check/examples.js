/* What the editor can begin with. */
"use strict";

const HEAD = `import numpy as np


`;

const EXAMPLES = {
  "a solution with two slips": `${HEAD}def batchnorm_forward(x, gamma, beta, bn_param):
    eps = bn_param.get("eps", 1e-5)
    momentum = bn_param.get("momentum", 0.9)
    running_mean = bn_param.get("running_mean", np.zeros(x.shape[1]))
    running_var = bn_param.get("running_var", np.zeros(x.shape[1]))

    if bn_param["mode"] == "test":
        x_hat = (x - running_mean) / (np.sqrt(running_var) + eps)
        return gamma * x_hat + beta, None

    mean = x.mean(axis=0)
    var = x.var(axis=0)
    x_hat = (x - mean) / np.sqrt(var + eps)
    bn_param["running_mean"] = momentum * running_mean + (1 - momentum) * mean
    bn_param["running_var"] = momentum * running_var + (1 - momentum) * var
    return gamma * x_hat + beta, (x_hat, gamma, var, eps)


def batchnorm_backward(dout, cache):
    x_hat, gamma, var, eps = cache
    dx_hat = dout * gamma
    dx = (dx_hat - dx_hat.mean(axis=0)) / np.sqrt(var + eps)
    return dx, (dout * x_hat).sum(axis=0), dout.sum(axis=0)
`,
  "functions to fill in": `${HEAD}def batchnorm_forward(x, gamma, beta, bn_param):
    """x (n, d); bn_param: mode ("train" or "test"), eps, momentum, running_mean, running_var, stored back."""
    raise NotImplementedError


def batchnorm_backward(dout, cache):
    """Return dx, dgamma, dbeta."""
    raise NotImplementedError
`,
  "five lines of pybn (press Only run it)": `import numpy as np, pybn

x = np.array([[1.0, 10.0], [3.0, 20.0], [8.0, 60.0]])
y, mean, variance = pybn.reference.batch_norm_training(x, None, None)
print(mean, variance.round(2))
print(y.round(2))
`,
};
