/* A server: each thread replaces random blocks of its table for a while, then hands the table to a new thread and ends. */
#include "pattern.h"

enum { BLOCKS = 1000, GENERATIONS = 300, ROUNDS = 40 * 1000 };

struct work {
    int generation;
    uint64_t random;
    char *blocks[BLOCKS];
};

static size_t some(uint64_t *random) { return 8 + next_random(random) % 500; }

static void *serve(void *argument) {
    struct work *work = argument;
    for (int round = 0; round < ROUNDS; round++) {
        size_t at = next_random(&work->random) % BLOCKS;
        free(work->blocks[at]);
        work->blocks[at] = got(malloc(some(&work->random)));
        work->blocks[at][0] = 1;
    }
    if (++work->generation < GENERATIONS) {
        pthread_t next;
        must(!pthread_create(&next, NULL, serve, work), "no thread");
        pthread_join(next, NULL);
    }
    return NULL;
}

static void *body(void *number) {
    struct work *work = got(calloc(1, sizeof *work));
    work->random = seed((int)(intptr_t)number);
    for (int at = 0; at < BLOCKS; at++) work->blocks[at] = got(malloc(some(&work->random)));
    serve(work);
    for (int at = 0; at < BLOCKS; at++) free(work->blocks[at]);
    free(work);
    return NULL;
}

static void run(int threads) { on_threads(threads, body); }
