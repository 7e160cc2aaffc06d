/* Small blocks in bulk, back and forth: what one thread has allocated another one frees. */
#include "pattern.h"

enum { BATCH = 4000, ROUNDS = 4000, PLACES = 16 };

struct batch {
    char *blocks[BATCH];
};

static struct batch *_Atomic places[PLACES];

static void free_batch(struct batch *batch) {
    if (!batch) return;
    for (int at = 0; at < BATCH; at++) free(batch->blocks[at]);
    free(batch);
}

static void *body(void *number) {
    uint64_t random = seed((int)(intptr_t)number);
    for (int round = 0; round < ROUNDS; round++) {
        struct batch *batch = got(malloc(sizeof *batch));
        for (int at = 0; at < BATCH; at++) {
            batch->blocks[at] = got(malloc(8 + next_random(&random) % 93));
            batch->blocks[at][0] = 1;
        }
        free_batch(__atomic_exchange_n((struct batch **)&places[next_random(&random) % PLACES], batch, __ATOMIC_ACQ_REL));
    }
    return NULL;
}

static void run(int threads) {
    on_threads(threads, body);
    for (int at = 0; at < PLACES; at++) free_batch(places[at]);
}
