/* Of one size at a time: blocks in a row, freed first to last, then last to first, then one by one. */
#include "pattern.h"

enum { BLOCKS = 1600, ROUNDS = 100 };
static const size_t sizes[] = {8, 16, 24, 48, 64, 100, 128, 200, 256, 400, 512, 1000, 1024, 2000, 4096};

static void *body(void *number) {
    (void)number;
    char *blocks[BLOCKS];
    for (int round = 0; round < ROUNDS; round++)
        for (size_t kind = 0; kind < sizeof sizes / sizeof *sizes; kind++) {
            for (int at = 0; at < BLOCKS; at++) *(blocks[at] = got(malloc(sizes[kind]))) = 1;
            for (int at = 0; at < BLOCKS; at++) free(blocks[at]);
            for (int at = 0; at < BLOCKS; at++) *(blocks[at] = got(malloc(sizes[kind]))) = 1;
            for (int at = BLOCKS; at-- > 0;) free(blocks[at]);
            for (int at = 0; at < BLOCKS * 4; at++) {
                char *block = got(malloc(sizes[kind]));
                *block = 1;
                free(block);
            }
        }
    return NULL;
}

static void run(int threads) { on_threads(threads, body); }
