/* Batches of blocks that are left in shared places, where another thread takes them. The program says BATCH, PLACES, and by what STEP it
 * goes through a batch that it frees. */
#pragma once
#include "pattern.h"

struct batch {
    char *blocks[BATCH];
};

static struct batch *_Atomic places[PLACES];

static void free_batch(struct batch *batch) {
    if (!batch) return;
    for (int at = 0; at < BATCH; at++) free(batch->blocks[at * STEP % BATCH]);
    free(batch);
}

/* Leaves a batch in some place; returns what was there. */
static struct batch *exchange(struct batch *batch, uint64_t *random) {
    return __atomic_exchange_n((struct batch **)&places[next_random(random) % PLACES], batch, __ATOMIC_ACQ_REL);
}

static void free_places(void) {
    for (int at = 0; at < PLACES; at++) free_batch(places[at]);
}
