/* C23 7.24.3: what malloc, calloc and realloc return is aligned for any object; on x86_64 that is 16 bytes, whatever the size. */
#include "check.h"

RULE(malloc_of_every_size_to_4096_is_16_aligned) {
    void *blocks[4097];
    for (size_t size = 1; size <= 4096; size++) {
        blocks[size] = malloc(size);
        CHECK(blocks[size] && aligned(blocks[size], 16));
    }
    for (size_t size = 1; size <= 4096; size++) free(blocks[size]);
}

RULE(malloc_at_every_class_boundary_is_16_aligned) {
    for (size_t *size = boundary_sizes(64 * MIB); *size; size++) {
        void *block = malloc(*size);
        CHECK(block && aligned(block, 16));
        free(block);
    }
}

RULE(neighbours_of_one_size_are_16_aligned) {
    static const size_t sizes[] = {1, 8, 9, 24, 40, 72, 104, 136, 200, 1000, 5000, 33000};
    for (size_t at = 0; at < sizeof sizes / sizeof *sizes; at++) {
        void *blocks[500];
        for (int n = 0; n < 500; n++) {
            blocks[n] = malloc(sizes[at]);
            CHECK(blocks[n] && aligned(blocks[n], 16));
        }
        for (int n = 0; n < 500; n++) free(blocks[n]);
    }
}

RULE(calloc_is_16_aligned) {
    for (size_t size = 1; size <= 4096; size += 7) {
        void *block = calloc(1, size);
        CHECK(block && aligned(block, 16));
        free(block);
        block = calloc(size, 24);
        CHECK(block && aligned(block, 16));
        free(block);
    }
}

RULE(realloc_keeps_16_alignment) {
    void *block = NULL;
    for (size_t size = 1; size <= 100000; size += 1 + size / 16) {
        block = realloc(block, size);
        CHECK(block && aligned(block, 16));
    }
    for (size_t size = 100000; size > 1; size -= 1 + size / 16) {
        block = realloc(block, size);
        CHECK(block && aligned(block, 16));
    }
    free(block);
}

RULE(a_long_double_and_a_vector_fit_any_block) {
    for (size_t size = sizeof(long double); size < 300; size++) {
        long double *block = malloc(size);
        __asm__ volatile("movaps %%xmm0, (%0)" : : "r"(block) : "memory");
        *block = 1.5L;
        CHECK(*block == 1.5L);
        free(block);
    }
}
