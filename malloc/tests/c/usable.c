/* malloc_usable_size: at least what was asked for, and the program's own to the last byte. */
#include "check.h"

/* Blocks of one size side by side, each written to its last usable byte: nobody writes into anybody else. */
static void usable_to_the_last_byte(size_t size, size_t align, int count) {
    void *blocks[64];
    size_t usable[64];
    for (int at = 0; at < count; at++) {
        CHECK((blocks[at] = align ? aligned_alloc(align, size) : malloc(size)));
        usable[at] = malloc_usable_size(blocks[at]);
        CHECK(usable[at] >= size);
        CHECK(malloc_usable_size(blocks[at]) == usable[at]);
        fill(blocks[at], usable[at], (unsigned)at);
    }
    for (int at = 0; at < count; at++) CHECK(holds(blocks[at], usable[at], (unsigned)at));
    for (int at = 0; at < count; at += 2) free(blocks[at]);
    for (int at = 1; at < count; at += 2) CHECK(holds(blocks[at], usable[at], (unsigned)at));
    for (int at = 1; at < count; at += 2) free(blocks[at]);
}

RULE(every_small_size_is_usable_to_the_last_byte) {
    for (size_t size = 0; size <= 1100; size++) usable_to_the_last_byte(size, 0, 64);
}

RULE(every_class_boundary_is_usable_to_the_last_byte) {
    for (size_t *size = boundary_sizes(2 * MIB); *size; size++) usable_to_the_last_byte(*size, 0, *size < 40000 ? 16 : 4);
}

RULE(huge_blocks_are_usable_to_the_last_byte) {
    usable_to_the_last_byte(32 * MIB - 5, 0, 2);
    usable_to_the_last_byte(32 * MIB, 0, 2);
    usable_to_the_last_byte(40 * MIB + 1, 0, 2);
}

RULE(aligned_blocks_are_usable_to_the_last_byte) {
    for (size_t align = 16; align <= 64 * KIB; align *= 2)
        for (size_t size = 0; size <= 70000; size = size * 2 + 11) usable_to_the_last_byte(size, align, 16);
    for (size_t align = 128 * KIB; align <= 4 * MIB; align *= 4)
        for (size_t size = 1; size <= 70000; size = size * 9 + 11) usable_to_the_last_byte(size, align, 4);
}

RULE(usable_bytes_survive_realloc) {
    for (size_t size = 1; size < 300000; size = size * 3 / 2 + 1) {
        void *block = malloc(size);
        size_t usable = malloc_usable_size(block);
        fill(block, usable, 7);
        CHECK((block = realloc(block, usable + 1)));
        CHECK(holds(block, usable, 7));
        free(block);
    }
}

RULE(growing_to_the_usable_size_needs_no_move) {
    for (size_t size = 1; size < 300000; size = size * 3 / 2 + 1) {
        void *block = malloc(size), *grown = realloc(block, malloc_usable_size(block));
        CHECK(grown == block);
        free(grown);
    }
}

/* Not a rule of any standard, but what the memory of a program depends on. */
RULE(little_is_usable_beyond_what_was_asked_for) {
    for (size_t *size = boundary_sizes(16 * MIB); *size; size++) {
        void *block = malloc(*size);
        CHECK(malloc_usable_size(block) <= *size + *size / 4 + 64 * KIB);
        CHECK(*size > 30000 || malloc_usable_size(block) <= *size + *size / 4 + 16);
        free(block);
    }
}
