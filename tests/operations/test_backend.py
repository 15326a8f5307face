"""Which implementation computes: the default, the switch, and what happens where one is missing."""

import shutil
import sys
import threading
from importlib.util import find_spec

import numpy as np
import pytest

from pybn import arguments, backend, reference
from pybn.backend import active, backend_name, use_backend
from pybn.framework import ops
from pybn.framework.graph import Node, gradient
from tests.support.fresh import ROOT, run_python


@pytest.fixture
def other(monkeypatch):
    """A stand-in for the compiled implementation, so that the switch is tested where nothing was built."""
    module = type(sys)("other")
    vars(module).update({name: getattr(reference, name) for name in reference.__all__})
    real = backend.load
    monkeypatch.setattr(backend, "load", lambda name: module if name == "compiled" else real(name))
    monkeypatch.setattr(backend, "_calls", [])
    monkeypatch.setattr(backend, "_found_at_start", None)
    monkeypatch.delenv("PYBN_BACKEND", raising=False)
    return module


def test_the_compiled_one_is_the_default_where_it_was_built(other):
    assert active() is other
    assert backend_name() == "compiled"


def test_a_plain_call_holds_from_there_on_in_every_thread(other):
    use_backend("reference")
    seen = []
    thread = threading.Thread(target=lambda: seen.append(active()))
    thread.start()
    thread.join()
    assert active() is reference
    assert seen == [reference]


def test_a_block_holds_for_its_length_and_its_thread(other):
    seen = []
    with use_backend("reference") as implementation:
        thread = threading.Thread(target=lambda: seen.append(active()))
        thread.start()
        thread.join()
        assert active() is reference is implementation
    assert active() is other
    assert seen == [other]


def test_blocks_nest_and_a_call_within_one_ends_with_it(other):
    with use_backend("reference"):
        with use_backend("compiled"):
            assert active() is other
        assert active() is reference
        use_backend("compiled")
        assert active() is other
    assert active() is other
    with use_backend("compiled"):
        use_backend("reference")
    assert active() is other


def test_blocks_that_were_made_beforehand_leave_nothing_behind(other):
    for block, inside in [(use_backend("reference"), reference), (use_backend("compiled"), other)]:
        with block:
            assert active() is inside
    assert active() is other


def test_a_block_made_outside_another_ends_inside_it(other):
    made_before = use_backend("compiled")
    with use_backend("reference"):
        with made_before:
            assert active() is other
        assert active() is reference


def test_blocks_in_many_threads_leave_the_process_as_it_was(other):
    def loop():
        for _ in range(300):
            with use_backend("reference"):
                assert active() is reference

    threads = [threading.Thread(target=loop) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert active() is other
    assert backend._calls == []


def test_a_block_that_raises_is_left_as_any_other(other):
    with pytest.raises(KeyError), use_backend("reference"):
        raise KeyError
    assert active() is other


def test_another_name_is_an_error_that_changes_nothing(other):
    with pytest.raises(ValueError, match=r"'reference', 'compiled'.*got 'fast'"):
        use_backend("fast")
    assert active() is other


def test_a_gradient_uses_the_implementation_of_its_forward_pass(other, monkeypatch):
    calls = []
    real = reference.batch_norm_gradient
    monkeypatch.setattr(other, "batch_norm_gradient", lambda *a, **k: calls.append("other") or real(*a, **k))
    x = Node(np.arange(6.0).reshape(3, 2))
    y, _, _ = ops.batch_norm_training(x, None, None)
    with use_backend("reference"):
        gradient(ops.sum(y * y), [x])
    assert calls == ["other"]


def _python(code, folder=ROOT, **environment):
    done = run_python(code, folder, **environment)
    return done.returncode, done.stdout.strip(), done.stderr


def test_the_environment_variable_decides():
    assert _python("import pybn; print(pybn.backend_name())", PYBN_BACKEND="reference")[:2] == (0, "reference")


def test_the_environment_variable_must_name_an_implementation():
    code, _, errors = _python("import pybn; pybn.backend_name()", PYBN_BACKEND="fast")
    assert code == 1
    assert "PYBN_BACKEND must be one of ('reference', 'compiled'), got 'fast'" in errors


@pytest.fixture
def without_extension(tmp_path):
    """A folder in which pybn_ext is as an installation without a compiler leaves it."""
    (tmp_path / "pybn_ext").mkdir()
    shutil.copy(find_spec("pybn_ext").origin, tmp_path / "pybn_ext")
    return tmp_path


def test_without_the_extension_the_reference_computes_and_asking_for_the_other_is_an_error(without_extension):
    code, printed, errors = _python(
        "import pybn; print(pybn.backend_name()); pybn.use_backend('compiled')", without_extension
    )
    assert (code, printed) == (1, "reference")
    assert "ModuleNotFoundError: pybn_ext" in errors.strip().splitlines()[-1]
    assert "compiler" in errors


def test_a_compiler_that_failed_is_told_when_something_is_computed_and_a_clone_without_one_is_not(without_extension):
    """Installers hide a compiler's words; whoever chose the reference knows."""
    program = "import pybn; print(pybn.backend_name(), pybn.backend_name())"
    code, printed, errors = _python(program, without_extension)
    assert (code, printed, errors) == (0, "reference reference", "")
    (without_extension / "pybn_ext" / "build_failures.txt").write_text("_avx2: x.c:7:1: error: never heard of that\n")
    code, printed, errors = _python(program, without_extension)
    assert (code, printed) == (0, "reference reference")
    assert errors.count("RuntimeWarning: pybn_ext is not compiled in this installation") == 1
    assert "_avx2 failed with: x.c:7:1: error: never heard of that" in errors
    assert "PYBN_BACKEND=reference" in errors
    assert _python(program, without_extension, PYBN_BACKEND="reference") == (0, "reference reference", "")


def test_without_the_extension_the_environment_variable_is_no_wish_but_an_order(without_extension):
    code, _, errors = _python("import pybn; pybn.backend_name()", without_extension, PYBN_BACKEND="compiled")
    assert code == 1
    assert "ModuleNotFoundError: pybn_ext" in errors


def test_an_extension_that_is_there_and_broken_is_an_error_of_its_own(without_extension):
    (without_extension / "pybn_ext" / "__init__.py").write_text("import no_such_library")
    code, _, errors = _python("import pybn; pybn.backend_name()", without_extension)
    assert code == 1
    assert "No module named 'no_such_library'" in errors


def test_moments_are_one_type_for_both():
    assert reference.Moments is arguments.Moments
