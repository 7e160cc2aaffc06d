/* Random replacement in a large table of blocks of skewed sizes; each block marked at both ends and checked. */
#include "pattern.h"

enum { SLOTS = 100 * 1000, ROUNDS = 12 * 1000 * 1000 };

struct slot {
    char *block;
    size_t size;
};

static int share;

static void *body(void *number) {
    uint64_t random = seed((int)(intptr_t)number);
    size_t slots = SLOTS / (size_t)share;
    struct slot *table = got(calloc(slots, sizeof *table));
    for (int round = 0; round < ROUNDS / share; round++) {
        struct slot *slot = &table[next_random(&random) % slots];
        if (slot->block) {
            check_mark(slot->block, slot->size, slot->size);
            free(slot->block);
        }
        slot->size = skewed(&random, 16, 1000);
        slot->block = got(malloc(slot->size));
        mark(slot->block, slot->size, slot->size);
    }
    for (size_t at = 0; at < slots; at++) free(table[at].block);
    free(table);
    return NULL;
}

static void run(int threads) {
    share = threads;
    on_threads(threads, body);
}
