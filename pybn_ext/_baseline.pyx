"""The compiled operations for any processor (SSE2 on x86-64): the same source as each other level."""
include "operations.pxi"
