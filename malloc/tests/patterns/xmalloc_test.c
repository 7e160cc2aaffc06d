/* Half of the threads allocate batches, the others free them. */
#include "pattern.h"

enum { BATCH = 120, WAITING = 200, BATCHES = 100 * 1000 };

struct batch {
    struct batch *next;
    void *blocks[BATCH];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static struct batch *first;
static int waiting, producers, ended;

static void produce(uint64_t random) {
    for (int round = 0; round < BATCHES / producers; round++) {
        struct batch *batch = got(malloc(sizeof *batch));
        for (int at = 0; at < BATCH; at++) {
            size_t size = 8 + next_random(&random) % 240;
            memset(batch->blocks[at] = got(malloc(size)), 5, 8);
        }
        pthread_mutex_lock(&lock);
        while (waiting >= WAITING) pthread_cond_wait(&changed, &lock);
        batch->next = first;
        first = batch;
        waiting++;
        pthread_cond_broadcast(&changed);
        pthread_mutex_unlock(&lock);
    }
    pthread_mutex_lock(&lock);
    ended++;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static void consume(void) {
    for (;;) {
        pthread_mutex_lock(&lock);
        while (!first && ended < producers) pthread_cond_wait(&changed, &lock);
        struct batch *batch = first;
        if (batch) {
            first = batch->next;
            waiting--;
            pthread_cond_broadcast(&changed);
        }
        pthread_mutex_unlock(&lock);
        if (!batch) return;
        for (int at = 0; at < BATCH; at++) {
            must(*(char *)batch->blocks[at] == 5, "a block is not as it was left");
            free(batch->blocks[at]);
        }
        free(batch);
    }
}

static void *body(void *number) {
    if ((intptr_t)number % 2 == 0) produce(seed((int)(intptr_t)number));
    else consume();
    return NULL;
}

static void run(int threads) {
    if (threads < 2) threads = 2;
    producers = threads / 2;
    on_threads(producers * 2, body);
}
