/* A library that is to find its own symbols first, as PHP loads its extensions. */
#include "check.h"

static void *opened(const char *name) {
    void *library = dlopen(name, RTLD_NOW | RTLD_DEEPBIND);
    if (!library) fprintf(stderr, "%s\n", dlerror());
    CHECK(library);
    return library;
}

RULE(blocks_go_to_and_fro_with_a_library_that_is_bound_deeply) {
    void *library = opened(getenv("KMEM_LIBRARY"));
    void *(*give)(size_t) = (void *(*)(size_t))dlsym(library, "deep_give");
    void *(*resize)(void *, size_t) = (void *(*)(void *, size_t))dlsym(library, "deep_resize");
    void (*take)(void *) = (void (*)(void *))dlsym(library, "deep_take");
    char *(*copy)(const char *) = (char *(*)(const char *))dlsym(library, "deep_copy");
    CHECK(give && resize && take && copy);
    for (size_t size = 1; size < 40 * MIB; size = size * 5 + 16) {
        take(malloc(size));
        free(give(size));
        void *block = resize(malloc(size), 2 * size);
        CHECK(malloc_usable_size(block) >= 2 * size);
        free(block);
    }
    char *text = copy("text");
    CHECK(!strcmp(text, "text"));
    free(text);
    dlclose(library);
}

/* The search goes by the paths of whoever calls dlopen: this program's, in which alone the library's folder is. */
RULE(a_library_is_looked_for_where_its_opener_says) {
    const char *path = getenv("KMEM_LIBRARY"), *name = strrchr(path, '/') + 1;
    dlclose(opened(name));
    void *library = dlopen(name, RTLD_LAZY | RTLD_LOCAL);
    CHECK(library && !dlclose(library));
    CHECK(!dlopen("no-such-library.so", RTLD_LAZY) && strstr(dlerror(), "no-such-library.so"));
    void *program = dlopen(NULL, RTLD_LAZY);
    CHECK(program && dlsym(program, "malloc"));
}
