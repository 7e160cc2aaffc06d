/* A library whose ifunc resolver allocates. The dynamic linker relocates it before libkmem.so, so that malloc is called in a library
 * none of whose own calls are bound yet. */
#include <stdlib.h>
#include <string.h>

void *resolver_block, *resolver_zero;
static int implementation(void) { return 43; }

static int (*resolve(void))(void) {
    static void **block = &resolver_block;
    (void)block;
    void *first = malloc(200), *second = calloc(3, 70), *third = realloc(malloc(10), 500);
    if (!first || !second || !third) __builtin_trap();
    memset(first, 9, 200);
    for (int at = 0; at < 210; at++)
        if (((char *)second)[at]) __builtin_trap();
    free(third);
    resolver_block = first;
    resolver_zero = second;
    return implementation;
}

int chosen_by_library(void) __attribute__((ifunc("resolve")));
