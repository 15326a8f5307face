"""The compiled twin of `pybn.reference`: the same functions, signatures, errors and results.

The same source is compiled for several levels of processor; the best that runs here is chosen at
import, or the one that the environment variable PYBN_SIMD names.  All give the same bits.

Whether large results are written past the caches is measured when they come; PYBN_PAST_CACHES fixes it: the bytes that
a call moves from which on they are (24M, 0 for all, never).  That decides no bit either.
"""

import os
import platform
import re
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

_LOWEST = "sse2" if platform.machine().lower() in ("x86_64", "amd64") else "baseline"
_MODULES = {_LOWEST: "_baseline", "avx2": "_avx2", "avx512": "_avx512"}  # lowest first
_FAILURES = Path(__file__).with_name("build_failures.txt")  # written by setup.py where a module did not compile
_THIRD_LEVEL = Path("/sys/devices/system/cpu/cpu0/cache/index3/size")  # "32768K"


def _failures():
    """What the compiler said of each module that it could not build: {"_avx512": first line of its complaint}."""
    lines = _FAILURES.read_text(encoding="utf-8").splitlines() if _FAILURES.exists() else []
    return dict(line.split(": ", 1) for line in lines)


def _choose(wanted):
    """The name of the level to use, among those that were compiled and run here."""
    built = [level for level, module in _MODULES.items() if find_spec(f"{__name__}.{module}") is not None]
    if not built:
        said = "".join(f"; {module} failed with: {error}" for module, error in _failures().items())
        raise ModuleNotFoundError(
            "pybn_ext is not compiled in this installation: install a C compiler (gcc, clang or MSVC) and, in the "
            f"clone of pybn, run `pip install -e .` again{said}; `pybn` itself works without it, on the reference",
            name="pybn_ext",
            path=str(_FAILURES) if said else None,  # by this pybn.backend knows that a compiler failed
        )
    from pybn_ext import _cpu

    usable = [level for level in built if level == _LOWEST or _cpu.runs(level)]
    if not usable:
        raise ImportError(
            f"pybn_ext was compiled for {', '.join(built)}, which this processor does not run: a source install "
            "compiles for the machine that it is made on.  Install again here, or with PYBN_LEVELS=all for every "
            "processor; PYBN_BACKEND=reference computes without it"
        )
    if wanted is not None and wanted not in usable:
        raise ImportError(
            f"PYBN_SIMD must be one of the levels that were compiled and run here, {usable}, got {wanted!r}"
        )
    return (wanted or usable[-1]), built


def _bytes_moved(wanted):
    """PYBN_PAST_CACHES: the bytes moved from which on results go past the caches; -1 where it does not say."""
    if wanted is None:
        return -1
    if wanted == "never":
        return sys.maxsize
    said = re.fullmatch(r"([0-9]{1,12})([KMG]?)", wanted)
    if said is None:
        raise ValueError(
            "PYBN_PAST_CACHES must be a whole number of bytes, with K, M or G behind it for 1024, 1024**2 or 1024**3, "
            f"or 'never', got {wanted!r}; where it is not set, that is measured"
        )
    return min(int(said[1]) << {"": 0, "K": 10, "M": 20, "G": 30}[said[2]], sys.maxsize)


def _third_level():
    """The bytes of this processor's third-level cache, as Linux tells; 0 where nobody does."""
    try:
        return int(_THIRD_LEVEL.read_text(encoding="ascii").strip().removesuffix("K")) << 10
    except (OSError, ValueError):
        return 0


_level, _built = _choose(os.environ.get("PYBN_SIMD"))
_operations = import_module(f"{__name__}.{_MODULES[_level]}")
_operations.go_past_caches_from(_bytes_moved(os.environ.get("PYBN_PAST_CACHES")), _third_level())

GradientSums = _operations.GradientSums
Moments = _operations.Moments
moments = _operations.moments
merge_moments = _operations.merge_moments
batch_norm_training = _operations.batch_norm_training
batch_norm_gradient = _operations.batch_norm_gradient
batch_norm_gradient_sums = _operations.batch_norm_gradient_sums
batch_norm_gradient_from_sums = _operations.batch_norm_gradient_from_sums
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
        "not_built": _failures(),
        "threads": get_num_threads(),
        "rests": _operations.rests_taken(),
        "kept_bytes": _operations.kept_bytes(),
        "past_caches": _operations.past_caches(),
        **_operations.compiled_with(),
    }
