/* What a program does wrong, each in a process of its own: it ends with one line and an abort. */
#include "check.h"
#include <pthread.h>

/* What is found when a queue is flushed is found now. */
static void flush(void) { malloc_trim(0); }

static void survived(void) {
    static const char text[] = "nobody noticed\n";
    if (write(2, text, sizeof text - 1) < 0) { /* nobody to tell */
    }
    _exit(9);
}

static void twice(size_t size) {
    void *block = seen(malloc(size));
    free(block);
    free(seen(block));
    flush();
    survived();
}

RULE(double_free_small) { twice(600); }
RULE(double_free_large) { twice(100000); }
RULE(double_free_huge) { twice(50 * MIB); }

RULE(double_free_of_an_aligned_block) {
    void *block = seen(aligned_alloc(4096, 100));
    free(block);
    free(seen(block));
    flush();
    survived();
}

RULE(double_free_long_after) {
    void *block = seen(malloc(600)), *others[1000];
    free(block);
    for (int at = 0; at < 1000; at++) others[at] = malloc(40);
    for (int at = 0; at < 1000; at++) free(others[at]);
    free(seen(block));
    flush();
    survived();
}

static void *free_it(void *block) {
    free(block);
    return NULL;
}

RULE(double_free_by_two_threads) {
    void *block = seen(malloc(600));
    for (int at = 0; at < 2; at++) {
        pthread_t thread;
        CHECK(!pthread_create(&thread, NULL, free_it, block) && !pthread_join(thread, NULL));
    }
    flush();
    survived();
}

static char in_data[256] __attribute__((aligned(64))) = "data";

RULE(free_of_the_stack) {
    char here[256] __attribute__((aligned(64)));
    free(seen(here));
    flush();
    survived();
}

RULE(free_of_static_memory) {
    free(seen(in_data));
    flush();
    survived();
}

RULE(free_of_code) {
    free(seen((void *)((uintptr_t)&survived & ~(uintptr_t)15)));
    flush();
    survived();
}

RULE(free_of_an_address_without_memory) {
    free(seen((void *)0x10));
    flush();
    survived();
}

RULE(free_of_an_address_that_is_none) {
    free(seen((void *)0xdeadbeefdeadbee0));
    flush();
    survived();
}

RULE(free_inside_a_small_block) {
    free((char *)seen(malloc(600)) + 16);
    flush();
    survived();
}

RULE(free_of_an_odd_address) {
    free((char *)seen(malloc(600)) + 1);
    flush();
    survived();
}

RULE(free_inside_a_large_block) {
    free((char *)seen(malloc(100000)) + 4096);
    survived();
}

RULE(free_inside_a_huge_block) {
    free((char *)seen(malloc(50 * MIB)) + MIB);
    survived();
}

RULE(free_behind_a_huge_block) {
    free((char *)seen(malloc(50 * MIB)) + 50 * MIB);
    survived();
}

RULE(realloc_of_the_stack) {
    char here[256] __attribute__((aligned(64)));
    seen(realloc(seen(here), 1000));
    flush();
    survived();
}

RULE(realloc_of_static_memory) {
    seen(realloc(seen(in_data), 10));
    flush();
    survived();
}

RULE(realloc_of_an_address_that_is_none) {
    seen(realloc(seen((void *)0xdeadbeefdeadbee0), 100));
    survived();
}

RULE(realloc_of_a_freed_large_block) {
    void *block = seen(malloc(100000));
    free(block);
    seen(realloc(block, 200000));
    survived();
}

RULE(realloc_of_a_freed_huge_block) {
    void *block = seen(malloc(50 * MIB));
    free(block);
    seen(realloc(block, 60 * MIB));
    survived();
}

RULE(realloc_inside_a_large_block) {
    seen(realloc((char *)seen(malloc(100000)) + 4096, 200000));
    survived();
}

RULE(realloc_inside_a_small_block) {
    seen(realloc((char *)seen(malloc(600)) + 16, 5000));
    flush();
    survived();
}

RULE(double_free_with_the_heap_in_use_by_threads) {
    pthread_t thread;
    void *block = seen(malloc(600));
    free(block);
    CHECK(!pthread_create(&thread, NULL, free_it, malloc(600)) && !pthread_join(thread, NULL));
    free(seen(block));
    flush();
    survived();
}
