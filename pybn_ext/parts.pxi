# A call on numbers of 16 bits, part by part.  Each part is a call of its own, on the numbers where they lie; or, under
# a mask, on a copy as float32 that stays in the second level cache, whose result is rounded where it belongs.  A part
# holds whole features where as many as are worth a stretch of memory fit in; else they are cut, too, and what is asked
# is asked in two steps, as of a batch whose parts lie in several places: the moments of each part or its sums, and with
# those of all parts the results of each.

cdef enum:
    PART = 32768    # elements of a part: x, dy and dx take 192 KB, copies 384
    STRETCH = 64    # elements that lie together, of a feature or of neighbours, from which on whole features are taken
    DEEP = 256      # rows of a part where features are cut: what is kept of a part is small against it

# How one call is cut.
cdef struct Cut:
    Py_ssize_t groups        # of features
    Py_ssize_t outers        # in so many pieces the outer axis is cut
    Py_ssize_t inners        # and the inner one
    Py_ssize_t slots         # so many threads each do consecutive parts
    Operation operation      # what is asked of each part in this step
    bint backwards           # a second step begins with what the first left in the caches
    double* first            # of each piece and feature: mean, or sum of dy
    double* second           # variance, or sum of dy x-hat
    Py_ssize_t* counts       # unmasked elements of a feature in each piece
    double* offset           # rounded to odd; NULL: none, or float32
    float* constants         # of y, three of each feature, where `shared`; else each part finds its own
    bint shared
    float* room
    Py_ssize_t reach         # of room: from one array to the next
    bint failed              # there was no memory

# Where one part lies.
cdef struct Part:
    Py_ssize_t begin         # first of its features
    Py_ssize_t number
    Py_ssize_t piece         # of its features
    Py_ssize_t outer
    Py_ssize_t outers
    Py_ssize_t inner
    Py_ssize_t inners


cdef inline bint is_whole(const Cut* cut) noexcept nogil:
    """Whether features are not cut."""
    return cut.outers * cut.inners == 1


cdef void plan_cut(const Call* call, Cut* cut) noexcept nogil:
    cdef Py_ssize_t each = call.outer * call.inner
    cdef Py_ssize_t features = smaller(call.features, PART // each)
    cut.outers = cut.inners = 1
    if features < 1 or features * call.inner < smaller(STRETCH, call.features * call.inner):
        features = smaller(call.features, larger(1, PART // (call.inner * smaller(call.outer, DEEP))))
        cut.inners = (call.inner + PART - 1) // PART
        cut.outers = call.outer
        if cut.inners == 1:
            cut.outers = (call.outer - 1) // larger(1, PART // (features * call.inner)) + 1
    cut.groups = (call.features + features - 1) // features
    cut.reach = (smaller(PART, size_of(call)) + SPARE - 1) // SPARE * SPARE
    if call.operation == INFERENCE:
        plan_as_it_lies(call, cut)
    cut.slots = smaller(1 if size_of(call) < SERIAL else threads_now(), cut.groups * cut.outers * cut.inners)


cdef void plan_as_it_lies(const Call* call, Cut* cut) noexcept nogil:
    """For y of features that are known, unless more constants than y would be made.

    Inference of (4096, 512) in columns took 1.6 of the time, of (32, 256, 14, 14) 1.5.
    """
    cdef Py_ssize_t features = smaller(call.features, larger(1, PART // call.inner))
    if call.inner < SHORTEST and call.features * call.inner > PART // SPARE:
        return
    cut.inners = (call.inner + PART - 1) // PART
    cut.outers = call.outer
    if cut.inners == 1:
        cut.outers = (call.outer - 1) // larger(1, PART // (features * call.inner)) + 1
    cut.groups = (call.features + features - 1) // features


cdef inline Part part_of(const Call* call, const Cut* cut, Py_ssize_t index) noexcept nogil:
    """Neighbours follow each other."""
    cdef Part part
    cdef Py_ssize_t group = index % cut.groups
    cdef Py_ssize_t outer = index // cut.groups // cut.inners
    cdef Py_ssize_t inner = index // cut.groups % cut.inners
    part.piece = index // cut.groups
    part.begin = call.features * group // cut.groups
    part.number = call.features * (group + 1) // cut.groups - part.begin
    part.outer = call.outer * outer // cut.outers
    part.outers = call.outer * (outer + 1) // cut.outers - part.outer
    part.inner = call.inner * inner // cut.inners
    part.inners = call.inner * (inner + 1) // cut.inners - part.inner
    return part


cdef inline Py_ssize_t stretches(const Call* call, const Part* part) noexcept nogil:
    """How many there are of elements that lie together."""
    return 1 if part.number == call.features and part.inners == call.inner else part.outers


cdef inline Py_ssize_t start_of(const Call* call, const Part* part, Py_ssize_t row) noexcept nogil:
    return ((part.outer + row) * call.features + part.begin) * call.inner + part.inner


cdef void widen_part(const Call* call, const Part* part, const void* source, float* to) noexcept nogil:
    cdef Py_ssize_t rows = stretches(call, part)
    cdef Py_ssize_t length = part.outers // rows * part.number * part.inners
    cdef Py_ssize_t row, start
    for row in range(rows):
        start = start_of(call, part, row)
        check_range(start, length, size_of(call))
        widen_halves(call, <const uint16_t*> source + start, length, to + row * length)


cdef void narrow_part(const Call* call, const Part* part, const float* source) noexcept nogil:
    """To where y or dx is."""
    cdef Py_ssize_t rows = stretches(call, part)
    cdef Py_ssize_t length = part.outers // rows * part.number * part.inners
    cdef Py_ssize_t row, start
    for row in range(rows):
        start = start_of(call, part, row)
        check_range(start, length, size_of(call))
        narrow_halves(call, source + row * length, length, <uint16_t*> call.y + start)


cdef void copy_part(const Call* call, const Part* part, const void* source) noexcept nogil:
    """As it is."""
    cdef Py_ssize_t row, start
    cdef Py_ssize_t length = part.number * part.inners
    for row in range(part.outers):
        start = start_of(call, part, row)
        check_range(start, length, size_of(call))
        memmove(<uint16_t*> call.y + start, <const uint16_t*> source + start, length * sizeof(uint16_t))


cdef inline Given from_feature(Given given, Py_ssize_t begin) noexcept nogil:
    """Of the features from `begin` on."""
    if given.values != NULL:
        given.values = <char*> given.values + begin * (4 if given.single else 8)
    return given


cdef inline Given in_doubles(double* values) noexcept nogil:
    cdef Given given
    given.values = values
    given.single = False
    return given


cdef void part_call(const Call* call, const Cut* cut, const Part* part, Call* own) noexcept nogil:
    """What is asked of one part, as a call of its own."""
    cdef Py_ssize_t positions = part.outers * part.inners
    own[0] = call[0]
    own.operation = cut.operation
    own.widened = False
    own.outer, own.features, own.inner = part.outers, part.number, part.inners
    own.scale, own.offset = from_feature(call.scale, part.begin), from_feature(call.offset, part.begin)
    if cut.offset != NULL:
        own.offset = in_doubles(cut.offset + part.begin)
    own.mean, own.variance = from_feature(call.mean, part.begin), from_feature(call.variance, part.begin)
    own.dscale, own.doffset = from_feature(call.dscale, part.begin), from_feature(call.doffset, part.begin)
    if is_whole(cut):
        return
    if call.keep != NULL:
        own.keep = call.keep + part.outer * call.inner + part.inner
        own.count = all_real_ones(own.keep, positions)
        if own.count == positions:
            own.keep = NULL
    elif cut.operation != GRADIENT_FROM_SUMS:
        own.count = positions
    keep_results(call, cut, part, own)


cdef inline void keep_results(const Call* call, const Cut* cut, const Part* part, Call* own) noexcept nogil:
    """Where the numbers of each feature go or come from, where a part has some of its elements."""
    cdef Py_ssize_t at = part.piece * call.features + part.begin
    if cut.operation == MOMENTS:
        own.mean, own.variance = in_doubles(cut.first + at), in_doubles(cut.second + at)
    elif cut.operation == GRADIENT_SUMS or cut.operation == INFERENCE_GRADIENT:
        own.doffset, own.dscale = in_doubles(cut.first + at), in_doubles(cut.second + at)
    elif call.operation == GRADIENT:
        own.doffset, own.dscale = in_doubles(cut.first + part.begin), in_doubles(cut.second + part.begin)


cdef void do_part(const Call* call, Cut* cut, Py_ssize_t index, float* room) noexcept nogil:
    cdef Part part = part_of(call, cut, index)
    cdef Call own
    part_call(call, cut, &part, &own)
    if cut.operation == MOMENTS and not is_whole(cut):
        cut.counts[part.piece] = own.count
    if own.count == 0:
        if has_result(&own):
            copy_part(call, &part, call.x if call.dy == NULL else call.dy)
    elif cut.operation == INFERENCE:
        normalize_part(call, cut, &part, &own, room)
    elif cut.operation == TRAINING:  # of whole features
        own.operation = MOMENTS
        compute_part(call, cut, &part, &own, room)
        own.operation = INFERENCE
        normalize_part(call, cut, &part, &own, room)
    else:
        if cut.operation == GRADIENT_FROM_SUMS:
            own.count = call.count
        compute_part(call, cut, &part, &own, room)


cdef inline bint may_stay(const Call* call, const Part* part, const Call* own) noexcept nogil:
    """Whether a part is computed where it lies, in 16 bits, and not in a copy.

    Under a mask, of few elements, or where its rows are glued and lie apart, a copy costs little beside the rest.
    """
    return (
        own.keep == NULL and own.operation != INFERENCE and own.count > FEW_ELEMENTS
        and (stretches(call, part) == 1 or own.glue == 1 or not own.by_rows)
    )


cdef void stay(const Call* call, const Part* part, Call* own) noexcept nogil:
    cdef Py_ssize_t start = start_of(call, part, 0)
    own.half = call.half
    own.x = <const uint16_t*> call.x + start
    if call.dy != NULL:
        own.dy = <const uint16_t*> call.dy + start
    own.y = NULL if call.y == NULL else <uint16_t*> call.y + start
    own.together = part.number * part.inners
    own.next_stretch = own.together if stretches(call, part) == 1 else call.features * call.inner
    own.stream = False


cdef void copy_wider(const Call* call, const Cut* cut, const Part* part, Call* own, float* room) noexcept nogil:
    own.half = NEITHER
    own.x = room
    widen_part(call, part, call.x, room)
    if call.dy != NULL:
        own.dy = room + cut.reach
        widen_part(call, part, call.dy, room + cut.reach)
    own.y = room + 2 * cut.reach


cdef void compute_part(const Call* call, Cut* cut, const Part* part, Call* own, float* room) noexcept nogil:
    """The call on a part, where it lies or on a copy whose result is brought to where it belongs."""
    cdef double small[SMALL]
    cdef double* memory = small
    cdef Py_ssize_t bytes
    plan(own)
    bytes = workspace_bytes(own)
    if bytes > <Py_ssize_t> sizeof(small):
        memory = <double*> malloc(bytes)
        if memory == NULL:
            cut.failed = True
            return
    divide_workspace(own, memory)
    if may_stay(call, part, own):
        stay(call, part, own)
    else:
        copy_wider(call, cut, part, own, room)
    execute(own)
    if memory != small:
        free(memory)
    if has_result(own) and own.half == NEITHER:
        narrow_part(call, part, <const float*> own.y)


cdef void slot_task(const Call* call, Py_ssize_t slot) noexcept nogil:
    """The parts of one thread, one after the other in the same memory."""
    cdef Cut* cut = <Cut*> call.cut
    cdef Py_ssize_t parts = cut.groups * cut.outers * cut.inners
    cdef Py_ssize_t index
    for index in range(parts * slot // cut.slots, parts * (slot + 1) // cut.slots):
        do_part(call, cut, parts - 1 - index if cut.backwards else index, cut.room + slot * 3 * cut.reach)


cdef void pool_pieces(const Call* call, const Cut* cut) noexcept nogil:
    """Mean and variance of each feature from those of its pieces (Chan, Golub & LeVeque 1979)."""
    cdef apart_from_others mean = <double*> call.mean.values
    cdef apart_from_others variance = <double*> call.variance.values
    cdef const double* more_mean
    cdef const double* more_variance
    cdef double seen = 0, part_a, part_b, difference
    cdef Py_ssize_t piece, c
    for piece in range(cut.outers * cut.inners):
        if cut.counts[piece] == 0:
            continue
        more_mean = cut.first + piece * call.features
        more_variance = cut.second + piece * call.features
        if seen == 0:
            memcpy(mean, more_mean, call.features * sizeof(double))
            memcpy(variance, more_variance, call.features * sizeof(double))
        seen += cut.counts[piece]
        part_b = cut.counts[piece] / seen
        part_a = 1 - part_b
        if part_a == 0:
            continue
        for c in range(call.features):
            difference = more_mean[c] - mean[c]
            mean[c] += difference * part_b
            variance[c] = (variance[c] * part_a + more_variance[c] * part_b) + difference * difference * part_a * part_b


cdef void add_pieces(const Call* call, double* sums, Py_ssize_t pieces) noexcept nogil:
    """One sum for each feature, where that of its first piece was."""
    cdef Total total
    cdef Py_ssize_t piece, c
    for c in range(call.features):
        total.plain = total.lost = 0
        for piece in range(pieces):
            add(&total, sums[piece * call.features + c])
        sums[c] = value_of(&total)


cdef void execute_parts(Call* call) noexcept nogil:
    """All steps of one call on numbers of 16 bits."""
    cdef Cut* cut = <Cut*> call.cut
    cdef Py_ssize_t pieces = cut.outers * cut.inners
    call.threads = cut.slots
    cut.operation = call.operation
    cut.backwards = False
    if not is_whole(cut):
        if call.operation == TRAINING:
            cut.operation = MOMENTS
        elif call.operation == GRADIENT:
            cut.operation = GRADIENT_SUMS
        elif call.operation == INFERENCE:
            share_constants(call, cut)
    run(slot_task, call, cut.slots, False)
    if is_whole(cut) or cut.failed:
        return
    if cut.operation == MOMENTS:
        pool_pieces(call, cut)
    elif takes_sums(call):
        add_pieces(call, cut.first, pieces)
        add_pieces(call, cut.second, pieces)
        give(cut.first, 0, call.features, &call.doffset)
        give(cut.second, 0, call.features, &call.dscale)
    if call.operation == TRAINING or call.operation == GRADIENT:
        cut.operation = INFERENCE if call.operation == TRAINING else GRADIENT_FROM_SUMS
        cut.backwards = True
        if call.operation == TRAINING:
            plan_as_it_lies(call, cut)
            share_constants(call, cut)
        run(slot_task, call, cut.slots, False)


cdef int perform_parts(Call* call) except -1:
    """Plan, take memory, compute."""
    cdef Cut cut
    cdef double* memory
    cdef Py_ssize_t pieces, c
    cdef Py_ssize_t kept = 0, shared = 0
    plan_cut(call, &cut)
    pieces = cut.outers * cut.inners
    if not is_whole(&cut):
        if takes_sums(call):
            kept = pieces * (2 * call.features + 1)
        shared = (TABLES - 1) * call.features
    memory = <double*> malloc(
        (kept + call.features) * sizeof(double) + (shared + 3 * cut.slots * cut.reach) * sizeof(float) + 2 * LINE
    )
    if memory == NULL:
        raise MemoryError("no memory for the parts of the batch")
    memset(memory, 0, kept * sizeof(double))  # of a part that is masked nothing comes
    cut.first = memory
    cut.second = memory + pieces * call.features
    cut.counts = <Py_ssize_t*> (memory + 2 * pieces * call.features)
    cut.offset = NULL
    if call.offset.values != NULL and not call.offset.single:  # a float32 is what it is
        cut.offset = memory + kept
        for c in range(call.features):
            cut.offset[c] = to_odd((<double*> call.offset.values)[c])
    cut.shared = False
    cut.constants = <float*> (memory + kept + call.features)
    cut.room = <float*> next_line(cut.constants + shared)
    cut.failed = False
    call.cut = &cut
    if call.count * call.features < LOCKED:
        execute_parts(call)
    else:
        with nogil:
            execute_parts(call)
    free(memory)
    if cut.failed:
        raise MemoryError("no memory for the sums of the features")
    return 0
