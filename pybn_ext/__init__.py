"""The compiled twin of `pybn.reference`: the same functions, signatures, errors and results.

The same source is compiled for several levels of processor; the best that runs here is chosen at
import, or the one that the environment variable PYBN_SIMD names.  All give the same bits.
"""

import os
from importlib import import_module
from importlib.util import find_spec

_MODULES = {"sse2": "_baseline", "avx2": "_avx2", "avx512": "_avx512"}  # lowest first


def _choose(wanted):
    """The name of the level to use, among those that were compiled and run here."""
    built = [level for level, module in _MODULES.items() if find_spec(f"{__name__}.{module}") is not None]
    if not built:
        raise ModuleNotFoundError(
            "pybn_ext is not compiled in this installation: install a C compiler (gcc, clang or MSVC) and, in the "
            "clone of pybn, run `pip install -e .` again; `pybn` itself works without it, on the reference",
            name="pybn_ext",
        )
    from pybn_ext import _cpu

    usable = [level for level in built if _cpu.runs(level)]
    if wanted is not None and wanted not in usable:
        raise ImportError(
            f"PYBN_SIMD must be one of the levels that were compiled and run here, {usable}, got {wanted!r}"
        )
    return (wanted or usable[-1]), built


_level, _built = _choose(os.environ.get("PYBN_SIMD"))
_operations = import_module(f"{__name__}.{_MODULES[_level]}")

Moments = _operations.Moments
moments = _operations.moments
merge_moments = _operations.merge_moments
batch_norm_training = _operations.batch_norm_training
batch_norm_gradient = _operations.batch_norm_gradient
batch_norm_inference = _operations.batch_norm_inference
batch_norm_inference_gradient = _operations.batch_norm_inference_gradient
set_num_threads = _operations.set_num_threads
get_num_threads = _operations.get_num_threads
clear_cache = _operations.clear_cache

__all__ = [*_operations.__all__, "build_info"]


def build_info():
    """How the compiled implementation was built and which part of it runs: a dict for people to read."""
    return {
        "simd": _level,
        "levels": _built,
        "threads": get_num_threads(),
        "kept_bytes": _operations.kept_bytes(),
        **_operations.compiled_with(),
    }
