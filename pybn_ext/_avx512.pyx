"""The compiled operations for processors with AVX-512: the same source as each other level."""
include "operations.pxi"
