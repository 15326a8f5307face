"""The compiled operations for processors with AVX2: the same source as each other level."""
include "operations.pxi"
