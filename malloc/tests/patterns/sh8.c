/* Small blocks in bulk, back and forth: what one thread has allocated another one frees. */
enum { BATCH = 4000, ROUNDS = 4000, PLACES = 16, STEP = 1 };
#include "batches.h"

static void *body(void *number) {
    uint64_t random = seed((int)(intptr_t)number);
    for (int round = 0; round < ROUNDS; round++) {
        struct batch *batch = got(malloc(sizeof *batch));
        for (int at = 0; at < BATCH; at++) {
            batch->blocks[at] = got(malloc(8 + next_random(&random) % 93));
            batch->blocks[at][0] = 1;
        }
        free_batch(exchange(batch, &random));
    }
    return NULL;
}

static void run(int threads) {
    on_threads(threads, body);
    free_places();
}
