/* What is too large is refused with ENOMEM, by every function, and nothing is lost. */
#include "check.h"

static const size_t impossible[] = {(size_t)PTRDIFF_MAX + 1, (size_t)PTRDIFF_MAX + 4096, SIZE_MAX / 2 + 2, SIZE_MAX - 65536,
                                    SIZE_MAX - 4096, SIZE_MAX - 31, SIZE_MAX - 16, SIZE_MAX - 15, SIZE_MAX - 7, SIZE_MAX - 1, SIZE_MAX};
enum { IMPOSSIBLE = sizeof impossible / sizeof *impossible };

#define REFUSED(call) CHECK((errno = 0, (call) == NULL) && errno == ENOMEM)
#define EACH(size) for (size_t at = 0, size; at < IMPOSSIBLE && (size = any(impossible[at]), 1); at++)

RULE(malloc_above_ptrdiff_max_is_refused) {
    EACH(size) REFUSED(malloc(size));
}

RULE(malloc_above_the_address_space_is_refused) {
    REFUSED(malloc(any(PTRDIFF_MAX)));
    REFUSED(malloc(any(PTRDIFF_MAX - 65536)));
    REFUSED(malloc(any((size_t)1 << 48)));
}

RULE(calloc_above_ptrdiff_max_is_refused) {
    EACH(size) {
        REFUSED(calloc(1, size));
        REFUSED(calloc(size, 1));
    }
}

RULE(calloc_refuses_products_that_overflow) {
    REFUSED(calloc(any(SIZE_MAX), any(SIZE_MAX)));
    REFUSED(calloc(any(SIZE_MAX / 2), any(3)));
    REFUSED(calloc(any(3), any(SIZE_MAX / 2)));
    REFUSED(calloc(any((size_t)1 << 32), any((size_t)1 << 32)));
    REFUSED(calloc(any(((size_t)1 << 32) + 1), any((size_t)1 << 32)));
    REFUSED(calloc(any(SIZE_MAX / 16 + 1), any(16)));
}

RULE(realloc_above_ptrdiff_max_leaves_the_block_alone) {
    static const size_t sizes[] = {1, 100, 40000, 3 << 20, 40 << 20};
    for (int n = 0; n < 5; n++) {
        void *block = malloc(sizes[n]);
        CHECK(block);
        fill(block, sizes[n], 5);
        EACH(size) REFUSED(realloc(block, size));
        REFUSED(realloc(block, any((size_t)1 << 48)));
        CHECK(holds(block, sizes[n], 5));
        free(block);
    }
    EACH(size) REFUSED(realloc(NULL, size));
}

RULE(reallocarray_refuses_products_that_overflow) {
    void *block = malloc(100);
    fill(block, 100, 6);
    REFUSED(reallocarray(block, any(SIZE_MAX / 2), any(3)));
    REFUSED(reallocarray(block, any(SIZE_MAX), any(SIZE_MAX)));
    REFUSED(reallocarray(block, any((size_t)1 << 32), any((size_t)1 << 32)));
    REFUSED(reallocarray(NULL, any((size_t)1 << 32), any((size_t)1 << 32)));
    EACH(size) REFUSED(reallocarray(block, 1, size));
    CHECK(holds(block, 100, 6));
    free(block);
}

RULE(memalign_above_ptrdiff_max_is_refused) {
    EACH(size) {
        REFUSED(memalign(16, size));
        REFUSED(memalign(64, size));
        REFUSED(memalign(MIB, size));
    }
}

RULE(aligned_alloc_above_ptrdiff_max_is_refused) {
    EACH(size) {
        REFUSED(aligned_alloc(16, size));
        REFUSED(aligned_alloc(4096, size));
    }
}

RULE(posix_memalign_above_ptrdiff_max_answers_enomem_and_keeps_the_pointer) {
    EACH(size) {
        void *kept = &kept, *before = kept;
        CHECK(posix_memalign(&kept, 16, size) == ENOMEM && kept == before);
        CHECK(posix_memalign(&kept, 4096, size) == ENOMEM && kept == before);
        CHECK(posix_memalign(&kept, MIB, size) == ENOMEM && kept == before);
    }
}

RULE(valloc_and_pvalloc_above_ptrdiff_max_are_refused) {
    EACH(size) {
        REFUSED(valloc(size));
        REFUSED(pvalloc(size));
    }
}

RULE(size_and_alignment_that_overflow_together_are_refused) {
    REFUSED(memalign(any((size_t)1 << 62), any((size_t)1 << 62)));
    REFUSED(aligned_alloc(any((size_t)1 << 62), any((size_t)1 << 62)));
    REFUSED(memalign(any((size_t)1 << 47), any(PTRDIFF_MAX)));
    void *kept = NULL;
    CHECK(posix_memalign(&kept, any((size_t)1 << 62), any((size_t)1 << 62)) == ENOMEM && kept == NULL);
}

RULE(what_was_refused_leaves_the_allocator_well) {
    for (int round = 0; round < 1000; round++) {
        REFUSED(malloc(any((size_t)1 << 50)));
        void *block = malloc(round * 37 + 1);
        CHECK(block);
        fill(block, round * 37 + 1, round);
        CHECK(holds(block, round * 37 + 1, round));
        free(block);
    }
}
