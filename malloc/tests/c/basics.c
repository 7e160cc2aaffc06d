/* Zero sizes, null pointers, distinct blocks, errno. */
#include "check.h"

RULE(malloc_of_zero_is_unique) {
    enum { COUNT = 1000 };
    static void *blocks[COUNT];
    for (int at = 0; at < COUNT; at++) {
        blocks[at] = malloc(any(0));
        CHECK(blocks[at]);
        for (int other = 0; other < at; other++) CHECK(blocks[at] != blocks[other]);
    }
    for (int at = 0; at < COUNT; at++) free(blocks[at]);
}

RULE(calloc_of_zero_is_unique_in_both_arguments) {
    void *none = calloc(any(0), 8), *empty = calloc(8, any(0)), *both = calloc(any(0), any(0));
    CHECK(none && empty && both && none != empty && empty != both && none != both);
    free(none);
    free(empty);
    free(both);
}

RULE(a_block_of_zero_is_no_other_block) {
    char *zero = malloc(any(0)), *one = malloc(1);
    *one = 7;
    CHECK(zero && zero != one);
    free(zero);
    CHECK(*one == 7);
    free(one);
}

RULE(calloc_of_zero_and_anything_cannot_overflow) {
    void *block = calloc(any(0), any(SIZE_MAX));
    CHECK(block);
    free(block);
    block = calloc(any(SIZE_MAX), any(0));
    CHECK(block);
    free(block);
}

RULE(free_of_null_does_nothing) {
    for (int at = 0; at < 10; at++) free(NULL);
}

RULE(usable_size_of_null_is_zero) { CHECK(malloc_usable_size(NULL) == 0); }

/* POSIX 2024: free shall not modify errno. */
RULE(free_keeps_errno) {
    static const size_t sizes[] = {0, 1, 100, 5000, 40 * 1024, 300 * 1024, 3 << 20, 40 << 20};
    for (size_t at = 0; at < sizeof sizes / sizeof *sizes; at++) {
        void *blocks[16];
        for (int n = 0; n < 16; n++) CHECK((blocks[n] = malloc(sizes[at])));
        for (int n = 0; n < 16; n++) {
            errno = 4711;
            free(blocks[n]);
            CHECK(errno == 4711);
        }
    }
    errno = 4711;
    free(NULL);
    CHECK(errno == 4711);
}

RULE(free_keeps_errno_on_its_slow_paths) {
    enum { COUNT = 50000 };
    static void *blocks[COUNT];
    for (int at = 0; at < COUNT; at++) CHECK((blocks[at] = malloc(200)));
    for (int at = 0; at < COUNT; at++) {
        errno = at;
        free(blocks[at]);
        CHECK(errno == at);
    }
}

/* C does not demand it, but programs that look at errno after a call that allocated along the way do. */
RULE(success_leaves_errno_alone) {
    for (size_t *size = boundary_sizes(64 * MIB); *size; size += 5) {
        errno = 4711;
        void *block = malloc(*size);
        CHECK(block && errno == 4711);
        block = realloc(block, *size * 2);
        CHECK(block && errno == 4711);
        free(block);
        block = calloc(1, *size);
        CHECK(block && errno == 4711);
        free(block);
        block = memalign(64, *size);
        CHECK(block && errno == 4711);
        free(block);
        CHECK(posix_memalign(&block, 4096, *size) == 0 && errno == 4711);
        free(block);
        CHECK(errno == 4711);
    }
}

RULE(live_blocks_do_not_overlap) {
    enum { COUNT = 4000 };
    static unsigned char *blocks[COUNT];
    static size_t sizes[COUNT];
    uint64_t random = 88172645463325252;
    for (int round = 0; round < 40000; round++) {
        size_t at = next_random(&random) % COUNT;
        if (blocks[at]) {
            CHECK(holds(blocks[at], sizes[at], (unsigned)at));
            free(blocks[at]);
        }
        sizes[at] = next_random(&random) % (round % 16 ? 600 : 70000);
        CHECK((blocks[at] = malloc(sizes[at])));
        fill(blocks[at], sizes[at], (unsigned)at);
    }
    for (int at = 0; at < COUNT; at++) {
        if (!blocks[at]) continue;
        CHECK(holds(blocks[at], sizes[at], (unsigned)at));
        free(blocks[at]);
    }
}
