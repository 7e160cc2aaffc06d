/* The names that glibc exports besides: old programs call them, and a block may cross from one set of names to the other. */
#include "check.h"

#define ALIAS(result, name, ...) extern result name(__VA_ARGS__) __attribute__((weak))
ALIAS(void *, __libc_malloc, size_t);
ALIAS(void *, __libc_calloc, size_t, size_t);
ALIAS(void *, __libc_realloc, void *, size_t);
ALIAS(void, __libc_free, void *);
ALIAS(void *, __libc_memalign, size_t, size_t);
ALIAS(void *, __libc_valloc, size_t);
ALIAS(void *, __libc_pvalloc, size_t);
ALIAS(void, cfree, void *);

RULE(libc_malloc_and_free_are_malloc_and_free) {
    for (size_t size = 1; size < 40 * MIB; size = size * 3 + 1) {
        free(__libc_malloc(size));
        __libc_free(malloc(size));
        void *block = __libc_malloc(size);
        CHECK(block && malloc_usable_size(block) >= size);
        CHECK((block = realloc(block, size * 2)));
        CHECK((block = __libc_realloc(block, size / 2 + 1)));
        __libc_free(block);
    }
}

RULE(libc_calloc_zeroes) {
    for (size_t size = 1; size < 4 * MIB; size = size * 3 + 1) {
        void *block = __libc_calloc(1, size);
        CHECK(block && all_zero(block, size));
        memset(block, 1, size);
        free(block);
    }
    errno = 0;
    CHECK(__libc_calloc(any(SIZE_MAX), any(3)) == NULL && errno == ENOMEM);
}

RULE(libc_memalign_aligns) {
    for (size_t align = 16; align <= MIB; align *= 2) {
        void *block = __libc_memalign(align, 100);
        CHECK(block && aligned(block, align));
        free(block);
    }
    free(__libc_valloc(100));
    free(__libc_pvalloc(100));
}

RULE(cfree_is_free) {
    void (*old_free)(void *) = (void (*)(void *))dlsym(RTLD_DEFAULT, "cfree");
    if (!old_free) skip("no cfree (glibc has it for old programs only)");
    for (int round = 0; round < 1000; round++) old_free(malloc(100));
}

/* What the C library itself allocates, the program frees. */
RULE(blocks_of_the_c_library_are_blocks_of_malloc) {
    for (int round = 0; round < 2000; round++) {
        free(strdup("a string of some length"));
        char *text = NULL;
        CHECK(asprintf(&text, "%d and %s", round, "more") > 0);
        free(text);
        free(realpath("/", NULL));
        free(getcwd(NULL, 0));
    }
    FILE *file = fopen("/etc/passwd", "r");
    if (file) {
        char *line = NULL;
        size_t len = 0;
        while (getline(&line, &len, file) > 0) {}
        free(line);
        fclose(file);
    }
}
