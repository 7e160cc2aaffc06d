/* Threads that allocate a little, leave some of it to the next, and end. */
#include "pattern.h"

enum { ROUNDS = 1000, BLOCKS = 300 };
static void *_Atomic left[BLOCKS];

static void *body(void *number) {
    uint64_t random = seed((int)(intptr_t)number);
    void *blocks[BLOCKS];
    for (int at = 0; at < BLOCKS; at++) memset(blocks[at] = got(malloc(16 + next_random(&random) % 2000)), 1, 16);
    for (int at = 0; at < BLOCKS; at++)
        free(at % 10 ? blocks[at] : __atomic_exchange_n((void **)&left[next_random(&random) % BLOCKS], blocks[at], __ATOMIC_ACQ_REL));
    return NULL;
}

static void run(int threads) {
    for (int round = 0; round < ROUNDS; round++) on_threads(threads, body);
    for (int at = 0; at < BLOCKS; at++) free(left[at]);
}
