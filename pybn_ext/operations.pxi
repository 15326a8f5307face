# One compiled module: its rooms in the order in which a batch goes through them.  A room uses what stands in its own
# part, in one further down, and the words; tests/test_architecture.py reads this list, and sees that it is so.
#
#   the words: what every room may use
#     call      what one call computes on
#     vectors   a register of elements as a number
#     mask      the mask of a stretch of elements
#     busy      whether threads are in each other's way
#     shares    who does what of shared work, and how others are waited for
#     threads   where threads divide the work
#     halves    numbers of 16 bits, and float32
#     places    where the elements of a call are
#   the door: what an operation is given, and where its results go
#     entry     the public functions
#     ordinary  whether an input is the ordinary case
#     pool      memory of large outputs, kept for the next call
#     caches    whether a large result is written past them
#     parts     a call on numbers of 16 bits, part by part
#     narrow    and y of a part
#   the ways: how a layout becomes rows of lanes, and what is done with them in which order
#     plans     how a layout becomes rows of lanes
#     rows      the plan for features last
#     channels  the plan for features in front of other axes
#     sweep     the plan for inference with them, where nothing is summed
#     mend      the gradient of a feature again, where its terms cancel
#   sums
#     shift     what is taken from each element before it is squared
#     sums      the primitive for sums: rows of lanes
#     columns   some of them, a vector of lanes at once
#     runs      and for elements of one feature that lie together
#     peaks     whether one of the sums has most of the squares
#     widened   sums of float32 in float64
#     widened_runs  and for elements of one feature that lie together
#     totals    additions of which little is lost
#   features: constants of each, in float64
#     again     the second look, where that was not good enough
#     careful   and where a square left the type's range
#     doubt     where the terms of dx may cancel
#     spread    how far x is from its mean there, where elements are few
#     closer    and else, or where that was not enough, a closer look
#     finish    the constants of the write
#   results
#     write     the primitive for results
#     seams     and for runs of several features that follow each other
#     write_halves  and of 16 bits
cimport cython
cimport numpy as cnp
from cpython.float cimport PyFloat_AS_DOUBLE, PyFloat_CheckExact
from cpython.long cimport PyLong_AsSsize_t, PyLong_CheckExact
from cpython.tuple cimport PyTuple_CheckExact, PyTuple_GET_ITEM, PyTuple_GET_SIZE
from libc.float cimport DBL_MAX, FLT_MAX, FLT_MIN
from libc.math cimport NAN, fabs, fabsf, ilogb, ldexp, sqrt
from libc.stdint cimport uint16_t, uintptr_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memmove, memset

import sys

import numpy as np

from pybn import arguments, halves
from pybn.arguments import GradientSums, Moments
from pybn_ext import general

cnp.import_array()

cdef extern from *:
    """
    #ifdef Py_LIMITED_API  /* the macros look into an object, the functions ask it */
    #define PyFloat_AS_DOUBLE PyFloat_AsDouble
    #define PyTuple_GET_ITEM PyTuple_GetItem
    #define PyTuple_GET_SIZE PyTuple_Size
    #endif
    """

include "call.pxi"
include "vectors.pxi"
include "mask.pxi"
include "busy.pxi"
include "shares.pxi"
include "threads.pxi"
include "halves.pxi"
include "places.pxi"
include "entry.pxi"
include "ordinary.pxi"
include "pool.pxi"
include "caches.pxi"
include "parts.pxi"
include "narrow.pxi"
include "plans.pxi"
include "rows.pxi"
include "channels.pxi"
include "sweep.pxi"
include "mend.pxi"
include "shift.pxi"
include "sums.pxi"
include "columns.pxi"
include "runs.pxi"
include "peaks.pxi"
include "widened.pxi"
include "widened_runs.pxi"
include "totals.pxi"
include "again.pxi"
include "careful.pxi"
include "doubt.pxi"
include "spread.pxi"
include "closer.pxi"
include "finish.pxi"
include "write.pxi"
include "seams.pxi"
include "write_halves.pxi"
