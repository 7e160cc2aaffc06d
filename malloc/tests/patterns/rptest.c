/* Random sizes from 16 to 16000 bytes, freed in another order; every fourth batch is left for another thread. */
enum { BATCH = 500, ROUNDS = 20000, PLACES = 64, STEP = 7 };
#include "batches.h"

static void *body(void *number) {
    uint64_t random = seed((int)(intptr_t)number);
    for (int round = 0; round < ROUNDS; round++) {
        struct batch *batch = got(malloc(sizeof *batch));
        for (int at = 0; at < BATCH; at++) {
            size_t size = skewed(&random, 16, 16000);
            char *block = batch->blocks[at] = got(malloc(size));
            block[0] = block[size - 1] = 1;
        }
        if (round % 4 == 0) batch = exchange(batch, &random);
        free_batch(batch);
    }
    return NULL;
}

static void run(int threads) {
    on_threads(threads, body);
    free_places();
}
