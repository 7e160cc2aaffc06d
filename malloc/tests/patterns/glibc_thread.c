/* A working set of 1024 blocks per thread of sizes to 32 KiB, the larger the rarer, replaced at random. */
#include "pattern.h"

enum { BLOCKS = 1024, ROUNDS = 30 * 1000 * 1000 };
static int share;

static void *body(void *number) {
    uint64_t random = seed((int)(intptr_t)number);
    char **blocks = got(calloc(BLOCKS, sizeof *blocks));
    for (int round = 0; round < ROUNDS / share; round++) {
        size_t at = next_random(&random) % BLOCKS;
        free(blocks[at]);
        *(blocks[at] = got(malloc(skewed(&random, 4, 32768)))) = 1;
    }
    for (int at = 0; at < BLOCKS; at++) free(blocks[at]);
    free(blocks);
    return NULL;
}

static void run(int threads) {
    share = threads;
    on_threads(threads, body);
}
