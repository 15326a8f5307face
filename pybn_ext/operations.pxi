# One compiled module: the parts in the order in which a batch passes through them, innermost first.
#
#   call      what one call computes on
#   vectors   a register of elements as a number
#   mask      the mask of a stretch of elements
#   totals    additions of which little is lost
#   sums      the primitive for sums: rows of lanes
#   runs      and for elements of one feature that lie together
#   shift     what is taken from each element before it is squared
#   careful   the second look, where that was not good enough
#   doubt     where the terms of dx may cancel
#   finish    constants of each feature, in float64
#   widened   sums of float32 in float64
#   write     the primitive for results
#   seams     and for runs of several features that follow each other
#   mend      the gradient of a feature again, where its terms cancel
#   threads   where threads divide the work
#   plans     how a layout becomes rows of lanes
#   rows      the plan for features last
#   channels  the plan for features in front of other axes
#   sweep     the plan for inference with them, where nothing is summed
#   pool      memory of large outputs, kept for the next call
#   general   any input that is not the ordinary case, through pybn.arguments
#   entry     the public functions
cimport cython
cimport numpy as cnp
from cpython.float cimport PyFloat_AS_DOUBLE, PyFloat_CheckExact
from cpython.long cimport PyLong_AsSsize_t, PyLong_CheckExact
from cpython.tuple cimport PyTuple_CheckExact, PyTuple_GET_ITEM, PyTuple_GET_SIZE
from libc.float cimport DBL_MAX, FLT_MAX, FLT_MIN
from libc.math cimport fabs, fabsf, ilogb, ldexp, sqrt
from libc.stdint cimport uintptr_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

import numpy as np

from pybn import arguments
from pybn.arguments import GradientSums, Moments

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
include "totals.pxi"
include "sums.pxi"
include "runs.pxi"
include "shift.pxi"
include "careful.pxi"
include "doubt.pxi"
include "finish.pxi"
include "widened.pxi"
include "write.pxi"
include "seams.pxi"
include "mend.pxi"
include "threads.pxi"
include "plans.pxi"
include "rows.pxi"
include "channels.pxi"
include "sweep.pxi"
include "pool.pxi"
include "general.pxi"
include "entry.pxi"
