/* Many blocks of a size, then of the next; some are kept for long, the others freed in order, in reverse, and every other one. */
#include "pattern.h"

enum { BATCH = 2000, ROUNDS = 100, SIZES = 40, KEPT = 8 * 1000 };

static void *body(void *number) {
    uint64_t random = seed((int)(intptr_t)number);
    char **kept = got(calloc(KEPT, sizeof *kept)), *batch[BATCH];
    size_t next_kept = 0;
    for (int round = 0; round < ROUNDS; round++)
        for (int step = 0; step < SIZES; step++) {
            size_t size = 1 + (size_t)step * 1000 / SIZES;
            for (int at = 0; at < BATCH; at++) {
                batch[at] = got(malloc(size));
                batch[at][0] = (char)at;
            }
            for (int at = 0; at < BATCH; at += 50) {
                free(kept[next_kept % KEPT]);
                kept[next_kept++ % KEPT] = batch[at];
                batch[at] = NULL;
            }
            switch (next_random(&random) % 3) {
            case 0:
                for (int at = 0; at < BATCH; at++) free(batch[at]);
                break;
            case 1:
                for (int at = BATCH; at-- > 0;) free(batch[at]);
                break;
            default:
                for (int at = 0; at < BATCH; at += 2) free(batch[at]);
                for (int at = 1; at < BATCH; at += 2) free(batch[at]);
            }
        }
    for (int at = 0; at < KEPT; at++) free(kept[at]);
    free(kept);
    return NULL;
}

static void run(int threads) { on_threads(threads, body); }
