/* C23 7.24.3.2: calloc's block is all zeroes, also if its memory was used before. */
#include "check.h"

RULE(calloc_is_zero_at_every_class_boundary) {
    for (size_t *size = boundary_sizes(16 * MIB); *size; size++) {
        void *block = calloc(1, *size);
        CHECK(block && all_zero(block, *size));
        free(block);
    }
}

RULE(calloc_is_zero_after_dirty_reuse) {
    for (size_t *size = boundary_sizes(48 * MIB); *size; size++) {
        for (int round = 0; round < 3; round++) {
            void *dirty = malloc(*size);
            CHECK(dirty);
            memset(dirty, 0xa5, *size);
            free(dirty);
            void *clean = calloc(*size, 1);
            CHECK(clean && all_zero(clean, *size));
            memset(clean, 0x5a, *size);
            free(clean);
        }
    }
}

RULE(calloc_is_zero_when_many_dirty_blocks_of_other_sizes_went_before) {
    enum { COUNT = 2000 };
    static void *blocks[COUNT];
    uint64_t random = 99;
    for (int round = 0; round < 30; round++) {
        for (int at = 0; at < COUNT; at++) {
            size_t size = next_random(&random) % 3000 + 1;
            CHECK((blocks[at] = malloc(size)));
            memset(blocks[at], 0xee, malloc_usable_size(blocks[at]));
        }
        for (int at = 0; at < COUNT; at++) free(blocks[at]);
        for (int at = 0; at < COUNT; at++) {
            size_t size = next_random(&random) % (at % 64 ? 3000 : 200000) + 1;
            CHECK((blocks[at] = calloc(size, 1)) && all_zero(blocks[at], size));
            memset(blocks[at], 0xdd, size);
        }
        for (int at = 0; at < COUNT; at++) free(blocks[at]);
    }
}

RULE(calloc_is_zero_to_the_product_not_the_factor) {
    for (size_t count = 1; count < 200; count++) {
        void *dirty = malloc(count * 24);
        memset(dirty, 0xff, count * 24);
        free(dirty);
        void *block = calloc(count, 24);
        CHECK(block && all_zero(block, count * 24));
        free(block);
    }
}

RULE(calloc_is_zero_after_trim) {
    for (int round = 0; round < 20; round++) {
        void *dirty[100];
        for (int at = 0; at < 100; at++) memset((dirty[at] = malloc(20000)), 0x77, 20000);
        for (int at = 0; at < 100; at++) free(dirty[at]);
        malloc_trim(0);
        for (int at = 0; at < 100; at++) CHECK((dirty[at] = calloc(1, 20000)) && all_zero(dirty[at], 20000));
        for (int at = 0; at < 100; at++) free(dirty[at]);
    }
}

/* Grown and shrunk blocks leave dirty ends behind. */
RULE(calloc_is_zero_where_realloc_left_an_end) {
    for (size_t size = 64 * KIB; size < 8 * MIB; size *= 2) {
        char *block = malloc(size);
        memset(block, 0x11, size);
        CHECK((block = realloc(block, size / 4)));
        char *clean = calloc(1, size / 2);
        CHECK(clean && all_zero(clean, size / 2));
        memset(clean, 0x22, size / 2);
        free(block);
        free(clean);
    }
}
