#include "check.h"
#include <malloc.h>

extern void *resolver_block, *resolver_zero;
extern int chosen_by_library(void);

RULE(first_call_from_the_resolver_of_a_library) {
    CHECK(chosen_by_library() == 43);
    CHECK(resolver_block && ((char *)resolver_block)[199] == 9 && malloc_usable_size(resolver_block) >= 200);
    resolver_block = realloc(resolver_block, 3000);
    CHECK(resolver_block && ((char *)resolver_block)[199] == 9);
    memset(resolver_block, 1, 3000);
    free(resolver_block);
    free(resolver_zero);
    for (int at = 0; at < 1000; at++) free(malloc(at));
}
