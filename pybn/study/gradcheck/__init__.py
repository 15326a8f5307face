"""Is this gradient right?  A vector-Jacobian product held against the derivative by numbers alone.

>>> import numpy as np
>>> def f(x):
...     return x**3
>>> check_gradients(f, [np.array([1.0, 2.0])], vjp=lambda dy, x: dy * 3 * x**2).ok
True
>>> print(check_gradients(f, [np.array([1.0, 2.0])], vjp=lambda dy, x: dy * x**2).text)
the gradient is wrong
  x: wrong: right but for a factor: 0.333333 times too large
    worst at [1]: the vjp gives -3.92211, complex step gives -11.7663 (allowed 0.0118)
"""

from pybn.study.gradcheck.check import CannotJudgeError, GradientReport, InputReport, check_gradients

__all__ = ["CannotJudgeError", "GradientReport", "InputReport", "check_gradients"]
