/* Threads that allocate, hand over, verify and free, while some fork children that do the same and others start programs. */
#include "check.h"
#include <pthread.h>
#include <sched.h>
#include <spawn.h>
#include <sys/wait.h>
#include <time.h>

extern char **environ;

/* A block knows how it is filled, so that whoever gets it can verify it. */
struct block {
    uint32_t size, seed;
};

enum { SHELF = 4096, FULL = 3000 };
static struct block *volatile shelf[SHELF];
static double ends;
static unsigned long operations, processes;

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static size_t filled(const struct block *block) { return block->size < FULL ? block->size : FULL; }

static struct block *made(struct block *block, size_t size, uint32_t seed) {
    CHECK(block && size >= sizeof *block);
    block->size = (uint32_t)size;
    block->seed = seed;
    fill(block + 1, filled(block) - sizeof *block, seed);
    return block;
}

static void verify(const struct block *block) { CHECK(holds(block + 1, filled(block) - sizeof *block, block->seed)); }

static size_t some_size(uint64_t *random) {
    uint64_t kind = next_random(random) % 1000, any_of = next_random(random);
    size_t size = kind < 700 ? any_of % 300 : kind < 950 ? any_of % 4000 : kind < 995 ? any_of % 100000 : any_of % (3 * MIB);
    return size + sizeof(struct block);
}

static void one_operation(uint64_t *random) {
    uint64_t place = next_random(random) % SHELF;
    struct block *old = __atomic_exchange_n(&shelf[place], NULL, __ATOMIC_ACQ_REL), *block = NULL;
    size_t size = some_size(random);
    uint32_t seed = (uint32_t)next_random(random);
    if (old) verify(old);
    switch (next_random(random) % 8) {
    case 0:
    case 1:
        if (old) {
            size_t kept = filled(old) < size ? filled(old) : size;
            uint32_t before = old->seed;
            CHECK((old = realloc(old, size)));
            CHECK(holds(old + 1, kept - sizeof *old, before));
            block = made(old, size, seed);
            old = NULL;
        }
        break;
    case 2: {
        size_t align = (size_t)16 << next_random(random) % 9;
        block = made(memalign(align, size), size, seed);
        CHECK(aligned(block, align));
        break;
    }
    case 3: {
        void *zero = calloc(1, size);
        CHECK(zero && all_zero(zero, size));
        block = made(zero, size, seed);
        break;
    }
    case 4: break;
    default: block = made(malloc(size), size, seed);
    }
    free(old);
    struct block *other = __atomic_exchange_n(&shelf[place], block, __ATOMIC_ACQ_REL);
    if (other) verify(other);
    free(other);
    __atomic_fetch_add(&operations, 1, __ATOMIC_RELAXED);
}

static void wait_for(pid_t child) {
    int status = 0;
    CHECK(child > 0 && waitpid(child, &status, 0) == child && status == 0);
    __atomic_fetch_add(&processes, 1, __ATOMIC_RELAXED);
}

/* The child has the shelf as it was at that moment: what is on it is whole, since a block is put there when it is filled. */
static void fork_one(uint64_t *random) {
    pid_t child = fork();
    if (child == 0) {
        alarm(60);
        for (int at = 0; at < SHELF; at += 7)
            if (shelf[at]) verify(shelf[at]);
        for (int round = 0; round < 2000; round++) one_operation(random);
        for (int at = 0; at < SHELF; at++) free(shelf[at]);
        malloc_trim(0);
        _exit(0);
    }
    wait_for(child);
}

static void start_one(void) {
    char *arguments[] = {(char *)"true", NULL};
    pid_t child = 0;
    CHECK(!posix_spawnp(&child, "true", NULL, NULL, arguments, environ));
    wait_for(child);
}

static void *rounds(void *number) {
    uint64_t random = (uint64_t)(uintptr_t)number * 0x9e3779b97f4a7c15u + (uint64_t)(now() * 1e6);
    while (now() < ends) {
        for (int round = 0; round < 500; round++) one_operation(&random);
        uint64_t what = next_random(&random) % 40;
        if (what < 4) fork_one(&random);
        else if (what < 6) start_one();
        else if (what == 6) malloc_trim(0);
        else if (what == 7) return NULL;
    }
    return NULL;
}

RULE(threads_forks_and_programs) {
    const char *seconds = getenv("KMEM_STORM_SECONDS");
    ends = now() + (seconds ? atof(seconds) : 3);
    /* Those who return early are followed by others, who inherit what they left on the shelf. */
    enum { THREADS = 8 };
    pthread_t threads[THREADS];
    for (uintptr_t at = 0; at < THREADS; at++) CHECK(!pthread_create(&threads[at], NULL, rounds, (void *)(at + 1)));
    for (uintptr_t next = 0; now() < ends; next++) {
        pthread_join(threads[next % THREADS], NULL);
        CHECK(!pthread_create(&threads[next % THREADS], NULL, rounds, (void *)(next + 100)));
    }
    for (int at = 0; at < THREADS; at++) pthread_join(threads[at], NULL);
    for (int at = 0; at < SHELF; at++) {
        if (shelf[at]) verify(shelf[at]);
        free(shelf[at]);
    }
    CHECK(operations > 10000 && processes > 10);
    printf("%lu operations, %lu processes\n", operations, processes);
}
