/* A library that wraps malloc, as heap profilers do: it asks dlsym for the next one in its first call. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>

static void *(*next_malloc)(size_t);
static void (*next_free)(void *);
static void *(*next_calloc)(size_t, size_t);
static void *(*next_realloc)(void *, size_t);
unsigned long wrapped_calls;

#define NEXT(name)                                                                                                                 \
    if (!next_##name) next_##name = (__typeof__(next_##name))dlsym(RTLD_NEXT, #name);                                              \
    __atomic_fetch_add(&wrapped_calls, 1, __ATOMIC_RELAXED)

void *malloc(size_t size) {
    NEXT(malloc);
    return next_malloc(size);
}

void free(void *block) {
    NEXT(free);
    next_free(block);
}

void *calloc(size_t count, size_t size) {
    NEXT(calloc);
    return next_calloc(count, size);
}

void *realloc(void *block, size_t size) {
    NEXT(realloc);
    return next_realloc(block, size);
}
