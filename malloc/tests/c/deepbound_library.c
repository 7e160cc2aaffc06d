/* Opened with RTLD_DEEPBIND: its own dependencies, the C library among them, come before the program's and what was preloaded. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>

void *deep_give(size_t size) { return malloc(size); }
void *deep_resize(void *block, size_t size) { return realloc(block, size); }
void deep_take(void *block) { free(block); }
char *deep_copy(const char *text) {
    char *copy = strdup(text), *again = strdup(copy);
    free(copy);
    return again;
}
