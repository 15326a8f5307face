"""The layer under test."""

import pytest

from pybn import batchnorm


@pytest.fixture
def bn():
    """The layer's package.  tests/mutants calls the tests that take it with copies that have a line changed."""
    return batchnorm
