/* fork, vfork and posix_spawn, with threads, handlers and signals. */
#include "check.h"
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <sys/time.h>
#include <sys/wait.h>

extern char **environ;
static volatile int stop;

/* Handlers registered before anything was allocated: their prepare runs last, when every lock of an allocator that registered later is
 * taken, and they allocate. */
static int handlers_allocate;
static void *handler_block;

static void allocate_in_handler(void) {
    if (!handlers_allocate) return;
    for (int at = 0; at < 200; at++) {
        void *block = malloc(at * 50 + 1), *large = at % 20 ? NULL : calloc(1, 200000);
        if (!block) abort();
        memset(block, 1, at * 50 + 1);
        free(handler_block);
        handler_block = block;
        free(large);
    }
}

__attribute__((constructor(101))) static void register_before_anything(void) {
    pthread_atfork(allocate_in_handler, allocate_in_handler, allocate_in_handler);
}

static void churn(uint64_t seed, int rounds) {
    enum { COUNT = 200 };
    void *blocks[COUNT] = {NULL};
    size_t sizes[COUNT];
    uint64_t random = seed * 2654435761u + 1;
    for (int round = 0; round < rounds; round++) {
        size_t at = next_random(&random) % COUNT;
        if (blocks[at]) CHECK(holds(blocks[at], sizes[at] < 300 ? sizes[at] : 300, (unsigned)at));
        sizes[at] = next_random(&random) % (round % 100 ? 1500 : 300000);
        blocks[at] = realloc(blocks[at], sizes[at] ? sizes[at] : (sizes[at] = 1));
        CHECK(blocks[at]);
        fill(blocks[at], sizes[at] < 300 ? sizes[at] : 300, (unsigned)at);
    }
    for (int at = 0; at < COUNT; at++) free(blocks[at]);
}

static void *churn_until_stopped(void *seed) {
    for (uint64_t round = 0; !stop; round++) churn((uint64_t)(uintptr_t)seed + round, 2000);
    return NULL;
}

static void wait_for(pid_t child) {
    int status = 0;
    CHECK(child > 0 && waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void start(pthread_t *threads, int count) {
    stop = 0;
    for (int at = 0; at < count; at++) CHECK(!pthread_create(&threads[at], NULL, churn_until_stopped, (void *)(uintptr_t)(at + 1)));
}

static void end(pthread_t *threads, int count) {
    stop = 1;
    for (int at = 0; at < count; at++) pthread_join(threads[at], NULL);
}

static void fork_storm(int forks) {
    pthread_t threads[4];
    start(threads, 4);
    void *inherited = malloc(3000);
    fill(inherited, 3000, 1);
    for (int round = 0; round < forks; round++) {
        pid_t child = fork();
        if (child == 0) {
            alarm(30);
            CHECK(holds(inherited, 3000, 1));
            free(inherited);
            churn((uint64_t)round + 99, 3000);
            malloc_trim(0);
            churn((uint64_t)round, 500);
            _exit(0);
        }
        wait_for(child);
    }
    end(threads, 4);
    free(inherited);
}

RULE(children_of_a_threaded_program_allocate_and_free) { fork_storm(150); }

RULE(atfork_handlers_that_allocate) {
    handlers_allocate = 1;
    fork_storm(60);
}

static void late_prepare(void) { free(malloc(1000)); }

RULE(atfork_handlers_registered_late_that_allocate) {
    for (int at = 0; at < 100; at++) CHECK(!pthread_atfork(late_prepare, late_prepare, late_prepare));
    fork_storm(40);
}

/* Children of children, each with threads of its own. */
static void *fork_again(void *depth) {
    churn(7, 500);
    if (depth) {
        pid_t child = fork();
        if (child == 0) {
            alarm(60);
            pthread_t thread;
            CHECK(!pthread_create(&thread, NULL, fork_again, (char *)depth - 1));
            churn(8, 500);
            pthread_join(thread, NULL);
            _exit(0);
        }
        wait_for(child);
    }
    return NULL;
}

RULE(grandchildren_with_threads) {
    pthread_t threads[4];
    for (int at = 0; at < 4; at++) CHECK(!pthread_create(&threads[at], NULL, fork_again, (char *)NULL + 6));
    for (int at = 0; at < 4; at++) pthread_join(threads[at], NULL);
}

/* What the parent's other threads held lies in the child's memory still, and is its to free. */
static void *volatile handed[4];
static void *hand_over(void *at) {
    void *block = malloc(500);
    fill(block, 500, 3);
    handed[(uintptr_t)at] = block;
    while (!stop) sched_yield();
    return NULL;
}

RULE(a_child_frees_blocks_of_threads_that_it_does_not_have) {
    pthread_t threads[4];
    stop = 0;
    for (int at = 0; at < 4; at++) CHECK(!pthread_create(&threads[at], NULL, hand_over, (void *)(uintptr_t)at));
    for (int at = 0; at < 4; at++)
        while (!handed[at]) sched_yield();
    for (int round = 0; round < 20; round++) {
        pid_t child = fork();
        if (child == 0) {
            alarm(30);
            for (int at = 0; at < 4; at++) {
                CHECK(holds(handed[at], 500, 3));
                free(handed[at]);
            }
            churn(5, 2000);
            _exit(0);
        }
        wait_for(child);
    }
    end(threads, 4);
    for (int at = 0; at < 4; at++) free(handed[at]);
}

RULE(vfork_and_exec_beside_threads) {
    pthread_t threads[4];
    start(threads, 4);
    for (int round = 0; round < 100; round++) {
        char *arguments[] = {(char *)"true", NULL};
        pid_t child = vfork();
        if (child == 0) {
            execve("/bin/true", arguments, environ);
            _exit(127);
        }
        wait_for(child);
    }
    end(threads, 4);
}

RULE(posix_spawn_beside_threads) {
    pthread_t threads[4];
    start(threads, 4);
    for (int round = 0; round < 100; round++) {
        char *arguments[] = {(char *)"sh", (char *)"-c", (char *)"echo $((1+1)) >/dev/null", NULL};
        pid_t child = 0;
        posix_spawn_file_actions_t actions;
        CHECK(!posix_spawn_file_actions_init(&actions));
        CHECK(!posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0));
        CHECK(!posix_spawnp(&child, "sh", &actions, NULL, arguments, environ));
        CHECK(!posix_spawn_file_actions_destroy(&actions));
        wait_for(child);
    }
    end(threads, 4);
}

RULE(popen_and_system_beside_threads) {
    pthread_t threads[3];
    start(threads, 3);
    for (int round = 0; round < 30; round++) {
        char line[64] = "";
        FILE *pipe = popen("echo hello", "r");
        CHECK(pipe && fgets(line, sizeof line, pipe) && !strcmp(line, "hello\n") && pclose(pipe) == 0);
        CHECK(system("true") == 0);
    }
    end(threads, 3);
}

/* A handler that interrupts malloc anywhere and forks. The child does what it may: async-signal-safe calls. */
static volatile sig_atomic_t forks, failures;

static void fork_in_handler(int signal) {
    (void)signal;
    int kept = errno, status = 0;
    pid_t child = fork();
    if (child == 0) _exit(0);
    if (child < 0 || waitpid(child, &status, 0) != child || status) failures++;
    forks++;
    errno = kept;
}

static void interrupted(int wanted) {
    struct sigaction action = {.sa_handler = fork_in_handler, .sa_flags = SA_RESTART};
    struct itimerval timer = {{0, 2000}, {0, 2000}}, none = {{0, 0}, {0, 0}};
    CHECK(!sigaction(SIGALRM, &action, NULL) && !setitimer(ITIMER_REAL, &timer, NULL));
    for (uint64_t round = 0; forks < wanted; round++) churn(round, 300);
    setitimer(ITIMER_REAL, &none, NULL);
    CHECK(!failures);
}

RULE(fork_from_a_signal_handler) { interrupted(200); }

/* Programs do not stop at what they may: children of such handlers allocate. Whoever was interrupted held no lock that lasts. */
static void fork_and_exec_in_handler(int signal) {
    (void)signal;
    int kept = errno, status = 0;
    pid_t child = fork();
    if (child == 0) {
        char *arguments[] = {(char *)"true", NULL};
        execve("/bin/true", arguments, environ);
        _exit(127);
    }
    if (child < 0 || waitpid(child, &status, 0) != child || status) failures++;
    forks++;
    errno = kept;
}

RULE(fork_and_exec_from_a_signal_handler) {
    struct sigaction action = {.sa_handler = fork_and_exec_in_handler, .sa_flags = SA_RESTART};
    struct itimerval timer = {{0, 5000}, {0, 5000}}, none = {{0, 0}, {0, 0}};
    CHECK(!sigaction(SIGALRM, &action, NULL) && !setitimer(ITIMER_REAL, &timer, NULL));
    for (uint64_t round = 0; forks < 100; round++) churn(round, 300);
    setitimer(ITIMER_REAL, &none, NULL);
    CHECK(!failures);
}
