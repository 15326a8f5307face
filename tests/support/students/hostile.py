"""Files that mean harm or are merely broken: the honest solution, with something done to it."""

HONEST = """import numpy as np
def batchnorm_forward(x, gamma, beta, p):
    m, v, e = x.mean(0), x.var(0), p.get("eps", 1e-5)
    k, n = p.get("momentum", 0.9), x.shape[1]
    rm, rv = p.get("running_mean", np.zeros(n)), p.get("running_var", np.zeros(n))
    if p["mode"] == "test":
        return gamma * (x - rm) / np.sqrt(rv + e) + beta, None
    p["running_mean"], p["running_var"] = k * rm + (1 - k) * m, k * rv + (1 - k) * v
    h = (x - m) / np.sqrt(v + e)
    return gamma * h + beta, (h, gamma / np.sqrt(v + e))
def batchnorm_backward(d, c):
    h, g = c
    return g * (d - d.mean(0) - h * (d * h).mean(0)), (d * h).sum(0), d.sum(0)
"""
WRONG_BACKWARD = (
    HONEST
    + """
def batchnorm_backward(d, c):
    return d, d.sum(0), d.sum(0)
"""
)


def in_backward(lines):
    """The honest solution with a backward that does this first."""
    body = "\n".join(f"    {line}" for line in lines.strip().splitlines())
    return f"{HONEST}\nright = batchnorm_backward\ndef batchnorm_backward(d, c):\n{body}\n    return right(d, c)\n"


def returning(lines):
    """The honest solution with a backward that returns an object of this class."""
    body = "\n".join(f"    {line}" for line in lines.strip().splitlines())
    return f"{HONEST}\nclass Odd:\n{body}\ndef batchnorm_backward(d, c):\n    return Odd(), Odd(), Odd()\n"


# What the backward may be told; the forward's parts must be right in all of them.
IN_A_FUNCTION = {
    "exits": (in_backward("import os\nos._exit(0)"), "ended the process that it ran in (exit status 0)"),
    "sys.exit": (in_backward("import sys\nsys.exit(0)"), "raises SystemExit: 0"),
    "loops": (in_backward("while True:\n    pass"), "did not return within"),
    "deaf": (in_backward("while True:\n    try:\n        sum(range(9))\n    except:\n        pass"), "did not return"),
    "sleeps": (in_backward("import time\ntime.sleep(60)"), "did not return within"),
    "recurses": (in_backward("batchnorm_backward(d, c)"), "RecursionError"),
    "array that loops": (returning("def __array__(self, *a, **k):\n    while True: pass"), "did not return within"),
    "array that raises": (returning("def __array__(self, *a, **k):\n    raise KeyError(1)"), "dx is missing"),
    "len that loops": (returning("def __len__(self):\n    while True: pass\ndef __getitem__(self, i): 1"), "did not"),
    "words that loop": (
        HONEST + "class E(Exception):\n    def __str__(self):\n        while True: pass\n"
        "def batchnorm_backward(d, c):\n    raise E\n",
        "did not return within",
    ),
    "words that raise": (
        HONEST + "class E(Exception):\n    def __str__(self):\n        raise ValueError\n"
        "def batchnorm_backward(d, c):\n    raise E\n",
        "E: (its message raises ValueError)",
    ),
    "long words": (in_backward("raise ValueError('a' * 10_000_000)"), "(10000000 characters)"),
    "floods": (in_backward("while True:\n    print('a')"), "did not return within"),
    "floods in bulk": (in_backward("while True:\n    print('a' * 1_000_000)"), "did not return within"),
    "memory": (in_backward("a = []\nwhile True:\n    a.append(bytearray(10_000_000))"), "MemoryError"),
    "writes a file": (in_backward("open('written.txt', 'w')"), "no file is written in a check: written.txt"),
    "removes a file": (in_backward("import os\nos.remove('kept.txt')"), "no file is changed in a check"),
    "starts a process": (in_backward("import subprocess\nsubprocess.run(['true'])"), "no process"),
    "writes to descriptors": (
        in_backward("import os\nfor i in range(3, 30):\n    try: os.write(i, b'0' * 64)\n    except OSError: pass"),
        "an answer that cannot be read",
    ),
}
# What must leave the verdict as it is: everything right.
HARMLESS = {
    "closes the output": in_backward("import sys\nsys.stdout.close()"),
    "prints much": in_backward("print('a' * 100_000)"),
    "writes to the terminal": in_backward("import os\nos.write(1, b'noise')"),
    "is asked for as a script": HONEST + "import sys\nsys.exit(0)\n",
}
# A wrong backward, and an attempt to be called right all the same.
CHEATS = {
    "patches the report": "import pybn.study.coursework.report.report as r\nr.make_report = lambda *a, **k: None\n",
    "patches the judge": "import pybn.study.coursework.gradient.judge as j\nj.judge_backward = lambda *a, **k: None\n",
    "patches NumPy": "np.array_equal = np.allclose = lambda *a, **k: True\n",
    "patches the guest": "import gc\nfor o in gc.get_objects():\n"
    "    if type(o).__name__ == 'Guest':\n        o.functions = {}\n",
}
# Files that give nothing to judge.
NO_VERDICT = {
    "ends at import": ("import os\nos._exit(0)\n", "ended the process that it ran in (exit status 0)"),
    "exits before anything": ("import sys\nsys.exit(0)\n", "no batchnorm_forward or spatial_batchnorm_forward"),
    "raises at import": ("1 / 0\n", "ZeroDivisionError: division by zero"),
    "other names": ("def vorwaerts(x): pass\nclass Layer: pass\n", "it has vorwaerts, Layer"),
    "no Python": ("def f(:\n", "SyntaxError"),
}
