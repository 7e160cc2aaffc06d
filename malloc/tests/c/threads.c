/* Threads that come and go. */
#include "check.h"
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>

static void touch(int seed) {
    void *blocks[40];
    for (int at = 0; at < 40; at++) {
        size_t size = (size_t)((at * 37 + seed) % 900 + 1);
        CHECK((blocks[at] = malloc(size)));
        fill(blocks[at], size, (unsigned)at);
    }
    for (int at = 0; at < 40; at++) {
        CHECK(holds(blocks[at], (size_t)((at * 37 + seed) % 900 + 1), (unsigned)at));
        free(blocks[at]);
    }
}

/* Each leaves a block to the next. */
static void *volatile left_behind;
static void *short_life(void *number) {
    touch((int)(uintptr_t)number);
    void *mine = malloc(300);
    fill(mine, 300, 9);
    void *theirs = __atomic_exchange_n(&left_behind, mine, __ATOMIC_ACQ_REL);
    if (theirs) CHECK(holds(theirs, 300, 9));
    free(theirs);
    return NULL;
}

static size_t held(void) {
    struct mallinfo2 info = mallinfo2();
    return info.arena + info.hblkhd;
}

RULE(ten_thousand_short_threads) {
    size_t after_first = 0;
    for (uintptr_t round = 0; round < 10000 / 4; round++) {
        pthread_t threads[4];
        for (int at = 0; at < 4; at++) CHECK(!pthread_create(&threads[at], NULL, short_life, (void *)(round * 4 + (uintptr_t)at)));
        for (int at = 0; at < 4; at++) pthread_join(threads[at], NULL);
        if (round == 100) after_first = held();
    }
    CHECK(held() <= after_first + 4 * MIB);
    free(left_behind);
}

static sem_t gone;
static void *detached_life(void *number) {
    touch((int)(uintptr_t)number);
    sem_post(&gone);
    return NULL;
}

RULE(detached_threads) {
    sem_init(&gone, 0, 0);
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    for (uintptr_t round = 0; round < 2000; round++) {
        pthread_t thread;
        while (pthread_create(&thread, &attributes, detached_life, (void *)round)) sched_yield();
        if (round >= 16) sem_wait(&gone);
    }
    for (int at = 0; at < 16; at++) sem_wait(&gone);
}

RULE(the_program_ends_while_detached_threads_allocate) {
    void *forever(void *number) {
        for (;;) touch((int)(uintptr_t)number);
    }
    for (uintptr_t at = 0; at < 4; at++) {
        pthread_t thread;
        CHECK(!pthread_create(&thread, NULL, forever, (void *)at) && !pthread_detach(thread));
    }
    usleep(20000);
}

/* Destructors of keys run when a thread's own caches may be gone already, several times over if they set the key again. */
static pthread_key_t keys[8];
static int destroyed;

static void destroy(void *value) {
    CHECK(holds(value, 100, 2));
    free(value);
    touch(5);
    free(calloc(1, 100000));
    if (__atomic_add_fetch(&destroyed, 1, __ATOMIC_RELAXED) % 3) {
        void *again = malloc(100);
        fill(again, 100, 2);
        for (int at = 0; at < 8; at++)
            if (!pthread_getspecific(keys[at])) {
                pthread_setspecific(keys[at], again);
                return;
            }
        free(again);
    }
}

static void *with_keys(void *unused) {
    (void)unused;
    for (int at = 0; at < 8; at++) {
        void *value = malloc(100);
        fill(value, 100, 2);
        pthread_setspecific(keys[at], value);
    }
    return NULL;
}

RULE(key_destructors_allocate_and_free) {
    for (int at = 0; at < 8; at++) CHECK(!pthread_key_create(&keys[at], destroy));
    for (int round = 0; round < 500; round++) {
        pthread_t threads[3];
        for (int at = 0; at < 3; at++) CHECK(!pthread_create(&threads[at], NULL, with_keys, NULL));
        for (int at = 0; at < 3; at++) pthread_join(threads[at], NULL);
    }
    CHECK(destroyed >= 500 * 3 * 8);
}

/* Cancelled at any point at which a thread may be cancelled, with cleanup handlers that free. */
static void *cancelled(void *unused) {
    (void)unused;
    void *block = malloc(500);
    pthread_cleanup_push(free, block);
    for (;;) {
        touch(3);
        pthread_testcancel();
    }
    pthread_cleanup_pop(1);
    return NULL;
}

RULE(cancelled_threads) {
    for (int round = 0; round < 300; round++) {
        pthread_t thread;
        CHECK(!pthread_create(&thread, NULL, cancelled, NULL));
        if (round % 3 == 0) usleep(200);
        CHECK(!pthread_cancel(thread) && !pthread_join(thread, NULL));
    }
}

/* One thread allocates, the next frees, through a small ring: nothing piles up. */
enum { RING = 512, PASSED = 400000 };
static void *volatile ring[RING];

static void *consume(void *unused) {
    (void)unused;
    for (int at = 0; at < PASSED; at++) {
        void *block;
        while (!(block = __atomic_exchange_n(&ring[at % RING], NULL, __ATOMIC_ACQ_REL))) sched_yield();
        CHECK(*(int *)block == at);
        free(block);
    }
    return NULL;
}

RULE(what_one_thread_allocates_another_frees) {
    pthread_t thread;
    CHECK(!pthread_create(&thread, NULL, consume, NULL));
    for (int at = 0; at < PASSED; at++) {
        int *block = malloc((size_t)(at % 700) + sizeof *block);
        *block = at;
        while (ring[at % RING]) sched_yield();
        __atomic_store_n(&ring[at % RING], (void *)block, __ATOMIC_RELEASE);
    }
    pthread_join(thread, NULL);
    CHECK(held() < 64 * MIB);
}

static void *small_stack(void *unused) {
    touch(1);
    free(realloc(malloc(100), 200000));
    malloc_trim(0);
    return unused;
}

RULE(threads_with_the_smallest_stack) {
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    CHECK(!pthread_attr_setstacksize(&attributes, 16384 > sysconf(_SC_THREAD_STACK_MIN) ? 16384 : (size_t)sysconf(_SC_THREAD_STACK_MIN)));
    for (int round = 0; round < 200; round++) {
        pthread_t thread;
        CHECK(!pthread_create(&thread, &attributes, small_stack, NULL));
        pthread_join(thread, NULL);
    }
}
