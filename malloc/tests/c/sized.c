/* C23 7.24.3.4, 7.24.3.5: free_sized and free_aligned_sized. Older C libraries have neither; then only the preloaded one is meant. */
#include "check.h"

extern void free_sized(void *block, size_t size) __attribute__((weak));
extern void free_aligned_sized(void *block, size_t align, size_t size) __attribute__((weak));

static void need(int there) {
    if (there) return;
    CHECK(!on_kmem());
    skip("this C library has no sized free");
}

RULE(free_sized_frees_malloc_calloc_and_realloc_blocks) {
    need(free_sized != NULL);
    for (int round = 0; round < 20; round++)
        for (size_t *size = boundary_sizes(4 * MIB); *size; size += 3) {
            void *block = malloc(*size);
            CHECK(block);
            fill(block, *size < 5000 ? *size : 5000, 1);
            free_sized(block, *size);
            free_sized(calloc(1, *size), *size);
            free_sized(realloc(malloc(3), *size), *size);
        }
}

RULE(free_sized_of_null_does_nothing) {
    need(free_sized != NULL);
    free_sized(NULL, 0);
    free_sized(NULL, 100);
}

RULE(free_sized_of_an_empty_block) {
    need(free_sized != NULL);
    for (int round = 0; round < 1000; round++) free_sized(malloc(any(0)), 0);
}

RULE(free_sized_keeps_errno) {
    need(free_sized != NULL);
    for (size_t size = 1; size < 40 * MIB; size = size * 3 + 1) {
        void *block = malloc(size);
        errno = 4711;
        free_sized(block, size);
        CHECK(errno == 4711);
    }
}

RULE(free_aligned_sized_frees_aligned_alloc_blocks) {
    need(free_aligned_sized != NULL);
    for (int round = 0; round < 5; round++)
        for (size_t align = 1; align <= 4 * MIB; align *= 2)
            for (size_t size = 1; size <= 100000; size = size * 5 + 2) {
                void *block = aligned_alloc(align, size);
                CHECK(block && aligned(block, align));
                fill(block, size, 2);
                CHECK(holds(block, size, 2));
                free_aligned_sized(block, align, size);
            }
}

RULE(free_aligned_sized_of_null_does_nothing) {
    need(free_aligned_sized != NULL);
    free_aligned_sized(NULL, 64, 128);
}

RULE(free_aligned_sized_of_an_empty_block) {
    need(free_aligned_sized != NULL);
    for (int round = 0; round < 1000; round++) free_aligned_sized(aligned_alloc(64, any(0)), 64, 0);
}

/* What one kind of free gives back serves the next allocation: nothing leaks. */
RULE(sized_and_plain_free_are_one) {
    need(free_sized != NULL && free_aligned_sized != NULL);
    for (int round = 0; round < 3000; round++) {
        size_t size = 1 * MIB;
        memset(malloc(1), 1, 1);
        void *one = malloc(size), *two = aligned_alloc(4096, size);
        CHECK(one && two);
        free_sized(one, size);
        free_aligned_sized(two, 4096, size);
    }
    for (int round = 0; round < 200000; round++) free_sized(malloc(5000), 5000);
}
