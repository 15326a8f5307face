"""Batch-norm state of other libraries, in and out, as plain arrays.

`from_X(arrays)` gives a `State`, `to_X(state)` gives the arrays back under the library's names, and
`options("X", state)` its constructor's keywords.  What changes on the way: which fraction momentum
counts, whether the averaged variance is that of the sample or of the population, and how many
batches the averages are said to have seen.  The facts stand in `pybn.study.interop.conventions`.
"""

from pybn.study.interop.conventions import LIBRARIES, RunningAverages, population_variance, rules, sample_variance
from pybn.study.interop.libraries import (
    from_flax,
    from_gomlx,
    from_haiku,
    from_keras,
    from_nnx,
    from_onnx,
    from_pytorch,
    options,
    read_layer,
    to_flax,
    to_gomlx,
    to_haiku,
    to_keras,
    to_nnx,
    to_onnx,
    to_pytorch,
    write_layer,
)
from pybn.study.interop.state import State

__all__ = [
    "LIBRARIES",
    "RunningAverages",
    "State",
    "from_flax",
    "from_gomlx",
    "from_haiku",
    "from_keras",
    "from_nnx",
    "from_onnx",
    "from_pytorch",
    "options",
    "population_variance",
    "read_layer",
    "rules",
    "sample_variance",
    "to_flax",
    "to_gomlx",
    "to_haiku",
    "to_keras",
    "to_nnx",
    "to_onnx",
    "to_pytorch",
    "write_layer",
]
