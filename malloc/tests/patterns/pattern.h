/* What the patterns share: a clock, random numbers, threads, checks. Each program defines `run` and prints how long it took,
 * in seconds, and its largest resident set in KiB. */
#pragma once
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MAX_THREADS 64

static void run(int threads);

static inline double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static inline uint64_t next_random(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    return *state ^= *state << 17;
}

static inline uint64_t seed(int of) { return (uint64_t)(of + 1) * 0x9e3779b97f4a7c15u; }

/* Small sizes are common, large ones rare: each doubling half as likely as the one before. */
static inline size_t skewed(uint64_t *state, size_t least, size_t most) {
    uint64_t bits = next_random(state);
    size_t limit = least;
    while (limit < most && (bits & 1)) {
        limit *= 2;
        bits >>= 1;
    }
    if (limit > most) limit = most;
    return least + (size_t)(bits >> 8) % limit;
}

static inline void must(int condition, const char *what) {
    if (condition) return;
    fprintf(stderr, "wrong: %s\n", what);
    abort();
}

static inline void *got(void *block) {
    must(block != NULL, "no memory");
    return block;
}

/* One number at each end of a block that says whose it is. */
static inline void mark(void *block, size_t size, uint64_t tag) {
    memcpy(block, &tag, sizeof tag);
    memcpy((char *)block + size - sizeof tag, &tag, sizeof tag);
}

static inline void check_mark(const void *block, size_t size, uint64_t tag) {
    uint64_t head, tail;
    memcpy(&head, block, sizeof head);
    memcpy(&tail, (const char *)block + size - sizeof tail, sizeof tail);
    must(head == tag && tail == tag, "a block is not as it was left");
}

static inline void on_threads(int count, void *(*body)(void *)) {
    pthread_t threads[MAX_THREADS];
    for (intptr_t at = 0; at < count; at++) must(!pthread_create(&threads[at], NULL, body, (void *)at), "no thread");
    for (int at = 0; at < count; at++) pthread_join(threads[at], NULL);
}

/* KiB of the largest resident set. */
static inline long peak(void) {
    char text[4096] = "";
    int file = open("/proc/self/status", O_RDONLY);
    must(file >= 0 && read(file, text, sizeof text - 1) > 0, "no /proc");
    close(file);
    return atol(strstr(text, "VmHWM:") + 6);
}

int main(int count, char **arguments) {
    int threads = count > 1 ? atoi(arguments[1]) : 1;
    must(threads > 0 && threads <= MAX_THREADS, "number of threads");
    double start = now();
    run(threads);
    double end = now();
    printf("%.4f %ld\n", end - start, peak());
    return 0;
}
