/* Random sizes from 16 to 16000 bytes, freed in another order; every fourth batch is left for another thread. */
#include "pattern.h"

enum { BATCH = 500, ROUNDS = 20000, PLACES = 64 };

struct batch {
    void *blocks[BATCH];
};
static struct batch *_Atomic places[PLACES];

static void free_batch(struct batch *batch) {
    if (!batch) return;
    for (int at = 0; at < BATCH; at++) free(batch->blocks[at * 7 % BATCH]);
    free(batch);
}

static void *body(void *number) {
    uint64_t random = seed((int)(intptr_t)number);
    for (int round = 0; round < ROUNDS; round++) {
        struct batch *batch = got(malloc(sizeof *batch));
        for (int at = 0; at < BATCH; at++) {
            size_t size = skewed(&random, 16, 16000);
            char *block = batch->blocks[at] = got(malloc(size));
            block[0] = block[size - 1] = 1;
        }
        if (round % 4 == 0) batch = __atomic_exchange_n((struct batch **)&places[next_random(&random) % PLACES], batch, __ATOMIC_ACQ_REL);
        free_batch(batch);
    }
    return NULL;
}

static void run(int threads) {
    on_threads(threads, body);
    for (int at = 0; at < PLACES; at++) free_batch(places[at]);
}
