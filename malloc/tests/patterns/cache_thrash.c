/* Active false sharing: threads that allocate small blocks at the same time and write to them. */
#include "pattern.h"

enum { ROUNDS = 60 * 1000, BLOCKS = 16, WRITES = 50, SIZE = 16 };

static void *body(void *number) {
    (void)number;
    for (int round = 0; round < ROUNDS; round++) {
        volatile char *blocks[BLOCKS];
        for (int at = 0; at < BLOCKS; at++) blocks[at] = memset(got(malloc(SIZE)), 0, SIZE);
        for (int write = 0; write < WRITES; write++)
            for (int at = 0; at < BLOCKS; at++) blocks[at][write % SIZE]++;
        for (int at = 0; at < BLOCKS; at++) free((void *)blocks[at]);
    }
    return NULL;
}

static void run(int threads) { on_threads(threads, body), on_threads(threads, body), on_threads(threads, body); }
