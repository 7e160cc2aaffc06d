/* Calls that come early: from an ifunc resolver, from the first constructor, from inside dlsym. */
#include "check.h"

/* A resolver runs while the program is being relocated, before any constructor of any library. */
static void *from_resolver, *zero_from_resolver, *grown_in_resolver;
static int implementation(void) { return 42; }

static int (*resolve(void))(void) {
    from_resolver = malloc(100);
    memset(from_resolver, 7, 100);
    zero_from_resolver = calloc(10, 10);
    grown_in_resolver = realloc(malloc(10), 1000);
    free(malloc(50));
    free(NULL);
    return implementation;
}

int chosen(void) __attribute__((ifunc("resolve")));

static void *from_constructor, *from_dlsym;

__attribute__((constructor(101))) static void first_constructor(void) {
    from_constructor = malloc(1000);
    fill(from_constructor, 1000, 1);
    /* The error path of dlsym formats a message and allocates it. */
    from_dlsym = dlsym(RTLD_DEFAULT, "there_is_no_such_symbol");
    const char *error = dlerror();
    if (from_dlsym || !error || !strstr(error, "there_is_no_such_symbol")) abort();
}

RULE(first_call_from_an_ifunc_resolver) {
    CHECK(chosen() == 42);
    CHECK(from_resolver && aligned(from_resolver, 16) && ((char *)from_resolver)[99] == 7);
    CHECK(zero_from_resolver && all_zero(zero_from_resolver, 100));
    CHECK(malloc_usable_size(from_resolver) >= 100 && malloc_usable_size(grown_in_resolver) >= 1000);
    from_resolver = realloc(from_resolver, 5000);
    CHECK(from_resolver && ((char *)from_resolver)[0] == 7 && ((char *)from_resolver)[99] == 7);
    free(from_resolver);
    free(zero_from_resolver);
    free(grown_in_resolver);
}

RULE(first_call_from_a_constructor) {
    CHECK(from_constructor && holds(from_constructor, 1000, 1));
    free(from_constructor);
}

__attribute__((destructor(101))) static void last_destructor(void) {
    for (int at = 0; at < 100; at++) free(malloc(at * 100));
}

RULE(calls_at_exit) {
    static void *kept;
    kept = malloc(100);
    void free_kept(void) { free(kept), free(strdup("last words")); }
    atexit(free_kept);
    fflush(stdout);
    exit(0);
}
