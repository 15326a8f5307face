"""pybn: batch normalization to read, to run and to teach with."""

from pybn import reference
from pybn.backend import backend_name, use_backend

__all__ = ["backend_name", "reference", "use_backend"]
