/* Passive false sharing: small neighbours are given to different threads, which free them and get others. */
#include "pattern.h"

enum { ROUNDS = 400 * 1000, WRITES = 300, SIZE = 8 };
static char *given[MAX_THREADS];

static void *body(void *number) {
    free(given[(intptr_t)number]);
    for (int round = 0; round < ROUNDS / 4; round++) {
        volatile char *block = got(malloc(SIZE));
        for (int write = 0; write < WRITES; write++) block[write % SIZE]++;
        free((void *)block);
    }
    return NULL;
}

static void run(int threads) {
    for (int round = 0; round < 4; round++) {
        for (int at = 0; at < threads; at++) given[at] = got(malloc(SIZE));
        on_threads(threads, body);
    }
}
