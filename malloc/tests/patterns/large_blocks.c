/* Blocks of 5 to 25 MB, twenty at a time, a byte written to each page. */
#include "pattern.h"

enum { BLOCKS = 20, ROUNDS = 400 };

static void run(int threads) {
    (void)threads;
    uint64_t random = seed(0);
    char *blocks[BLOCKS] = {NULL};
    for (int round = 0; round < ROUNDS; round++) {
        size_t at = next_random(&random) % BLOCKS, size = (5u << 20) + next_random(&random) % (20u << 20);
        free(blocks[at]);
        blocks[at] = got(malloc(size));
        for (size_t byte = 0; byte < size; byte += 4096) blocks[at][byte] = 1;
    }
    for (int at = 0; at < BLOCKS; at++) free(blocks[at]);
}
