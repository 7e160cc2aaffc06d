/* Nothing in the allocator is a point at which a thread can be cancelled: what it has in hand would be lost, and callers expect none.
 * A thread that was asked to end, and has not come to such a point, goes through all of it and is still there. */
#include "check.h"
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>

static void *volatile kept[64];

static void use_everything(void) {
    for (size_t size = 1; size < 80 * MIB; size = size * 3 + 1) {
        char *block = malloc(size), *zero = calloc(1, size), *aligned_block = memalign(256, size);
        CHECK(block && zero && aligned_block);
        CHECK((block = realloc(block, size * 2)));
        block[size] = 1;
        CHECK(malloc_usable_size(zero) >= size);
        free(block);
        free(zero);
        free(aligned_block);
    }
    for (size_t at = 0; at < 64 * 1000; at++) {
        free(kept[at % 64]);
        CHECK((kept[at % 64] = malloc(at % 3000)));
    }
    malloc_trim(0);
    (void)mallinfo2();
}

/* What a thread did after it was asked to end, before it came to its first point of cancellation. */
struct errand {
    void (*run)(void);
    volatile pid_t thread;
    volatile int done;
};

static void ended(void *argument) {
    struct errand *errand = argument;
    CHECK(errand->done);
}

static void *asked_to_end(void *argument) {
    struct errand *errand = argument;
    pthread_cleanup_push(ended, errand);
    CHECK(!pthread_cancel(pthread_self()));
    errand->thread = (pid_t)syscall(SYS_gettid);
    errand->run();
    errand->done = 1;
    pthread_testcancel();
    pthread_cleanup_pop(0);
    return NULL;
}

static pthread_t start(struct errand *errand) {
    pthread_t thread;
    CHECK(!pthread_create(&thread, NULL, asked_to_end, errand));
    return thread;
}

static void join(pthread_t thread, struct errand *errand) {
    void *result;
    CHECK(!pthread_join(thread, &result));
    CHECK(errand->done && result == PTHREAD_CANCELED);
}

RULE(a_cancelled_thread_goes_through_the_allocator) {
    struct errand errand = {use_everything, 0, 0};
    join(start(&errand), &errand);
}

/* Where a thread waits for a lock it sleeps in the end. One thread is stopped by a signal over and over again, until that finds it
 * holding a lock that the other one waits for. */
static volatile int stopped, go_on, seen_asleep;

static void stop_here(int signal) {
    (void)signal;
    stopped = 1;
    while (!go_on) usleep(100);
    stopped = 0;
}

/* Negative if nobody says what the thread is at, as there is no such thread any more. */
static int sleeps(pid_t thread) {
    char path[64], text[32] = "";
    snprintf(path, sizeof path, "/proc/self/task/%d/syscall", thread);
    int file = open(path, O_RDONLY);
    if (file < 0) return -1;
    ssize_t len = read(file, text, sizeof text - 1);
    close(file);
    long call = len > 0 && text[0] != 'r' ? strtol(text, NULL, 10) : -1;
    return call == SYS_nanosleep || call == SYS_clock_nanosleep;
}

/* Large blocks, as those are in nobody's queue, and no CPU keeps their pages. */
static void use_large_ones(void) {
    while (!seen_asleep) free(malloc(600000));
}

static void *until_somebody_sleeps(void *unused) {
    use_large_ones();
    return unused;
}

RULE(a_cancelled_thread_waits_for_a_lock) {
    if (!on_kmem()) skip("others wait in their own ways");
    if (sleeps((pid_t)syscall(SYS_gettid)) < 0) skip("nobody says what a thread is at");
    CHECK(signal(SIGUSR1, stop_here) != SIG_ERR);
    struct errand errand = {use_large_ones, 0, 0};
    pthread_t holder, waiter = start(&errand);
    CHECK(!pthread_create(&holder, NULL, until_somebody_sleeps, NULL));
    while (!errand.thread) sched_yield();
    for (int round = 0; round < 2000 && !seen_asleep && sleeps(errand.thread) >= 0; round++) {
        go_on = 0;
        CHECK(!pthread_kill(holder, SIGUSR1));
        while (!stopped) usleep(100);
        for (int look = 0; look < 10 && !seen_asleep; look++) {
            usleep(200);
            seen_asleep = sleeps(errand.thread) > 0;
        }
        go_on = 1;
        while (stopped) usleep(100);
    }
    CHECK(seen_asleep);
    pthread_join(holder, NULL);
    join(waiter, &errand);
}

/* A program that was allowed one CPU when it started, and runs on more of them later, makes the allocator read how many there are. */
static void run_on(const cpu_set_t *cpus) {
    if (sched_setaffinity(0, sizeof *cpus, cpus)) skip("affinity cannot be set");
}

static cpu_set_t all;

static pthread_barrier_t together;

/* In step, so that some of them run at once, if the machine is not too busy for that. */
static void use_small_ones(void) {
    run_on(&all);
    void *mine[64] = {NULL};
    for (size_t round = 0; round < 1000; round++) {
        pthread_barrier_wait(&together);
        for (size_t at = 0; at < 64 * 4; at++) {
            free(mine[at % 64]);
            CHECK((mine[at % 64] = malloc(at * round % 3000)));
        }
    }
    for (size_t at = 0; at < 64; at++) free(mine[at]);
}

RULE(cancelled_threads_on_more_cpus_than_at_first) {
    const char *was_allowed = getenv("KMEM_ALLOWED");
    if (!was_allowed) {
        char text[16];
        CHECK(!sched_getaffinity(0, sizeof all, &all));
        if (CPU_COUNT(&all) < 2) skip("there is one CPU");
        int last = CPU_SETSIZE - 1;
        while (!CPU_ISSET(last, &all)) last--;
        snprintf(text, sizeof text, "%d", last);
        setenv("KMEM_ALLOWED", text, 1);
        for (int cpu = last; cpu >= 0; cpu--)
            if (CPU_COUNT(&all) > 1) CPU_CLR(cpu, &all);
        run_on(&all);
        execl("/proc/self/exe", "pinned", this_rule->name, NULL);
        CHECK(!"exec");
    }
    for (int cpu = atoi(was_allowed); cpu >= 0; cpu--) CPU_SET(cpu, &all);
    CHECK(!pthread_barrier_init(&together, NULL, 4));
    struct errand errands[4];
    pthread_t threads[4];
    for (int at = 0; at < 4; at++) {
        errands[at] = (struct errand){use_small_ones, 0, 0};
        threads[at] = start(&errands[at]);
    }
    for (int at = 0; at < 4; at++) join(threads[at], &errands[at]);
}
