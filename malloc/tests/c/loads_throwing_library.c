#include "check.h"

/* RTLD_LOCAL, as Python loads its extensions. */
RULE(bad_alloc_of_a_library_that_was_loaded_for_itself) {
    void *library = dlopen(getenv("KMEM_LIBRARY"), RTLD_NOW | RTLD_LOCAL);
    CHECK(library);
    CHECK(!dlsym(RTLD_DEFAULT, "_ZSt17__throw_bad_allocv"));
    int (*catches)(size_t) = (int (*)(size_t))dlsym(library, "catches");
    int (*answers_null)(size_t) = (int (*)(size_t))dlsym(library, "answers_null");
    CHECK(catches && answers_null);
    CHECK(catches(any(SIZE_MAX / 2 + 4096)) == 3);
    CHECK(answers_null(any(SIZE_MAX / 2 + 4096)));
}
