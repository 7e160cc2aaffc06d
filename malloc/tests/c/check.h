/* Rules of the C ABI, one small function each, and the program that runs them.
 *
 *     RULE(free_of_null_does_nothing) { free(NULL); }
 *
 * The program runs all its rules in one process, or those that it is given by name. The first CHECK that does not hold names its
 * rule, file and line on standard error and ends the process with 1. */
#pragma once

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)

struct rule {
    const char *name;
    void (*run)(void);
    struct rule *next;
};

static struct rule *first_rule, **last_rule = &first_rule, *this_rule;

#define RULE(name)                                                                                                                 \
    static void name(void);                                                                                                        \
    static struct rule rule_##name = {#name, name, NULL};                                                                          \
    __attribute__((constructor)) static void add_##name(void) {                                                                    \
        *last_rule = &rule_##name;                                                                                                 \
        last_rule = &rule_##name.next;                                                                                             \
    }                                                                                                                              \
    static void name(void)

#define CHECK(condition)                                                                                                           \
    do {                                                                                                                           \
        if (!(condition)) check_failed(#condition, __FILE__, __LINE__);                                                            \
    } while (0)

/* Without stdio: what fails may be the allocator, and the process a child of fork. */
static inline void check_failed(const char *condition, const char *file, int line) {
    char text[512];
    int len = snprintf(text, sizeof text, "%s:%d: %s: does not hold: %s (errno %d)\n", file, line, this_rule ? this_rule->name : "?",
                       condition, errno);
    if (len > (int)sizeof text - 1) len = sizeof text - 1;
    if (write(2, text, (size_t)len) < 0) { /* nobody to tell */
    }
    _exit(1);
}

/* What the machine does not allow is said, and passes. */
static inline void skip(const char *why) {
    fprintf(stderr, "skipped: %s: %s\n", this_rule ? this_rule->name : "?", why);
    _exit(0);
}

/* Is it kmem that runs below? The rules hold for glibc too, with a few exceptions, so that they can be tested themselves. */
static inline int on_kmem(void) {
    const char *preload = getenv("LD_PRELOAD");
    return preload && strstr(preload, "libkmem");
}

/* What the compiler must not see through. */
static inline size_t any(size_t value) {
    __asm__ volatile("" : "+r"(value));
    return value;
}

static inline void *seen(void *block) {
    __asm__ volatile("" : "+r"(block) : : "memory");
    return block;
}

static inline unsigned char pattern(unsigned seed, size_t at) {
    return (unsigned char)(seed * 151 + at + (at >> 8) * 7 + (at >> 16) * 13);
}

static inline void fill(void *block, size_t len, unsigned seed) {
    unsigned char *bytes = (unsigned char *)block;
    for (size_t at = 0; at < len; at++) bytes[at] = pattern(seed, at);
}

static inline int holds(const void *block, size_t len, unsigned seed) {
    const unsigned char *bytes = (const unsigned char *)block;
    unsigned char differs = 0;
    for (size_t at = 0; at < len; at++) differs |= bytes[at] ^ pattern(seed, at);
    return !differs;
}

static inline int all_zero(const void *block, size_t len) {
    const unsigned char *bytes = (const unsigned char *)block;
    return !len || (!bytes[0] && !memcmp(bytes, bytes + 1, len - 1));
}

static inline int aligned(const void *block, size_t align) { return ((uintptr_t)block & (align - 1)) == 0; }

static inline uint64_t next_random(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    return *state ^= *state << 17;
}

/* Sizes around every class boundary that an allocator is likely to have: powers of two, and up to 256 KiB the eighths between them.
 * Up to `limit`, ascending; ends with 0. */
static inline size_t *boundary_sizes(size_t limit) {
    static size_t sizes[1024];
    size_t count = 0, last = 0;
    for (size_t power = 64; power <= limit; power *= 2)
        for (size_t step = 0; step < (power < 256 * KIB ? 8 : 1); step++) {
            size_t size = power + power / 8 * step;
            for (size_t near = size - 1; near <= size + 1; near++)
                if (near > last && near <= limit && count < 1023) sizes[count++] = last = near;
        }
    sizes[count] = 0;
    return sizes;
}

int main(int count, char **names) {
    int done = 0;
    for (this_rule = first_rule; this_rule; this_rule = this_rule->next) {
        int wanted = count == 1;
        for (int at = 1; at < count; at++) wanted |= !strcmp(names[at], this_rule->name);
        if (!wanted) continue;
        this_rule->run();
        printf("ok %s\n", this_rule->name);
        fflush(stdout);
        done++;
    }
    if (!done || (count > 1 && done != count - 1)) {
        fprintf(stderr, "no such rule\n");
        return 1;
    }
    return 0;
}
