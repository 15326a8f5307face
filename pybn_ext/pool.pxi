# Memory of large outputs.  A fresh array of 51 MB costs three times the computation in page
# faults, so a block returns here when its array dies and serves the next array of its size.

cdef extern from *:
    """
    #include <stdlib.h>
    #if defined(__linux__)
    #include <sys/mman.h>
    #define pybn_huge_pages(block, bytes) ((void) madvise(block, bytes, MADV_HUGEPAGE))
    #else
    #define pybn_huge_pages(block, bytes) ((void) 0)
    #endif
    #if defined(_MSC_VER)
    #include <malloc.h>
    #define pybn_aligned(bytes) _aligned_malloc(bytes, 1 << 21)
    #define pybn_aligned_free(block) _aligned_free(block)
    #else
    static void *pybn_aligned(size_t bytes) {
        void *block = NULL;
        return posix_memalign(&block, (size_t) 1 << 21, bytes) ? NULL : block;
    }
    #define pybn_aligned_free(block) free(block)
    #endif
    """
    void* aligned_block "pybn_aligned"(size_t bytes)
    void free_block "pybn_aligned_free"(void* block)
    void huge_pages "pybn_huge_pages"(void* block, size_t bytes)

cdef enum:
    POOLED = 4 << 20    # bytes from which an output comes from the pool; below, malloc itself recycles
    GRAIN = 2 << 20     # blocks are multiples of a huge page
    SLOTS = 16          # blocks kept

cdef size_t kept_at_most = <size_t> 1 << 30  # bytes kept; about five outputs of 200 MB
cdef size_t kept = 0
cdef void* slot_block[SLOTS]
cdef size_t slot_bytes[SLOTS]
# The interpreter's lock guards all of this: it is only touched where arrays are made and die.


cdef void* take_block(size_t bytes):
    """A kept block of exactly this size, or a new one; NULL where there is no memory."""
    global kept
    cdef int i
    cdef void* block
    for i in range(SLOTS):
        if slot_block[i] != NULL and slot_bytes[i] == bytes:
            block = slot_block[i]
            slot_block[i] = NULL
            kept -= bytes
            return block
    block = aligned_block(bytes)
    if block != NULL:
        huge_pages(block, bytes)
    return block


cdef void give_block(void* block, size_t bytes):
    """Keep the block for the next array, or free it where the pool is full."""
    global kept
    cdef int i
    if kept + bytes <= kept_at_most:
        for i in range(SLOTS):
            if slot_block[i] == NULL:
                slot_block[i] = block
                slot_bytes[i] = bytes
                kept += bytes
                return
    free_block(block)


@cython.final
@cython.internal
cdef class Block:
    """Owns the memory of one array; gives it back to the pool when the array dies."""

    cdef void* memory
    cdef size_t bytes

    def __dealloc__(self):
        if self.memory != NULL:
            give_block(self.memory, self.bytes)


def clear_cache():
    """Free the memory that is kept for the next large outputs."""
    global kept
    cdef int i
    for i in range(SLOTS):
        if slot_block[i] != NULL:
            free_block(slot_block[i])
            slot_block[i] = NULL
    kept = 0


def kept_bytes():
    """How much freed memory waits for the next large outputs."""
    return kept


cpdef cnp.ndarray new_like(cnp.ndarray x):
    """An uninitialized C-contiguous array of x's shape and dtype."""
    cdef Block owner
    cdef size_t bytes = cnp.PyArray_NBYTES(x)
    cdef cnp.ndarray array
    if bytes < POOLED:
        return cnp.PyArray_EMPTY(cnp.PyArray_NDIM(x), cnp.PyArray_DIMS(x), cnp.PyArray_TYPE(x), 0)
    owner = Block.__new__(Block)
    bytes = (bytes + GRAIN - 1) // GRAIN * GRAIN
    owner.memory = take_block(bytes)
    if owner.memory == NULL:
        raise MemoryError(f"no memory for an output of {bytes} bytes")
    owner.bytes = bytes
    array = cnp.PyArray_SimpleNewFromData(
        cnp.PyArray_NDIM(x), cnp.PyArray_DIMS(x), cnp.PyArray_TYPE(x), owner.memory
    )
    cnp.set_array_base(array, owner)
    return array
