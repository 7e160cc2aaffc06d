/* kmem.h, by a program that is linked with the library. */
#include "check.h"
#include <kmem.h>

enum { COUNT = 1000 };

static int made, gone;

static void make(void *object, void *context) {
    made++;
    memset(object, *(const char *)context, 200);
}

static void destroy(void *object, void *context) {
    gone++;
    CHECK(*(char *)object == *(const char *)context);
}

RULE(a_cache_hands_out_objects_of_its_alignment) {
    struct kmem_cache_spec spec = {.name = "aligned", .size = 100, .align = 64, .flags = KMEM_NO_MERGE};
    kmem_cache *cache = kmem_cache_create(&spec);
    CHECK(cache);
    void *objects[COUNT];
    for (int at = 0; at < COUNT; at++) {
        CHECK((objects[at] = kmem_cache_alloc(cache)) && (uintptr_t)objects[at] % 64 == 0);
        memset(objects[at], at, 100);
    }
    CHECK(kmem_cache_destroy(cache) == COUNT);
    for (int at = 0; at < COUNT; at++) {
        CHECK(((unsigned char *)objects[at])[99] == (unsigned char)at);
        /* Half of them as a program would that does not know where they are from. */
        if (at % 2) free(objects[at]);
        else kmem_cache_free(cache, objects[at]);
    }
    kmem_cache_free(cache, NULL);
    CHECK(kmem_cache_shrink(cache) % 65536 == 0);
    CHECK(kmem_cache_destroy(cache) == 0);
}

RULE(objects_stay_constructed) {
    static char mark = 'k';
    struct kmem_cache_spec spec = {.name = "made", .size = 200, .constructor = make, .destructor = destroy, .context = &mark};
    kmem_cache *cache = kmem_cache_create(&spec);
    CHECK(cache);
    for (int round = 0; round < COUNT; round++) {
        char *object = kmem_cache_alloc(cache);
        CHECK(object && object[0] == mark && object[199] == mark);
        kmem_cache_free(cache, object);
    }
    CHECK(made > 0 && made < COUNT && gone == 0);
    CHECK(kmem_cache_destroy(cache) == 0 && gone == made);
}

RULE(a_cache_that_cannot_be_is_refused) {
    struct kmem_cache_spec spec = {.name = "odd", .size = 100, .align = 24};
    errno = 0;
    CHECK(!kmem_cache_create(&spec) && errno == EINVAL);
    spec = (struct kmem_cache_spec){.size = 10 * MIB};
    errno = 0;
    CHECK(!kmem_cache_create(&spec) && errno == EINVAL);
}

RULE(tunables_are_set_by_name) {
    struct kmem_cache_spec spec = {.name = "tuned", .size = 100, .flags = KMEM_NO_MERGE};
    kmem_cache *cache = kmem_cache_create(&spec);
    CHECK(kmem_cache_tune(cache, "cpu_queue_size", 20) == 0);
    CHECK(kmem_cache_tune(cache, "cpu_queue_size", 20000) == EINVAL);
    CHECK(kmem_cache_tune(cache, "no_such", 1) == ENOENT);
    CHECK(kmem_cache_destroy(cache) == 0);
}

RULE(many_at_once) {
    static void *blocks[COUNT];
    size_t sizes[] = {1, 100, 3000, 40000};
    for (int n = 0; n < 4; n++) {
        CHECK(kmem_alloc_bulk(sizes[n], COUNT / 4, blocks) == COUNT / 4);
        for (int at = 0; at < COUNT / 4; at++) {
            CHECK((uintptr_t)blocks[at] % 16 == 0 && malloc_usable_size(blocks[at]) >= sizes[n]);
            memset(blocks[at], n, sizes[n]);
        }
        if (n == 1) blocks[7] = (free(blocks[7]), NULL);
        kmem_free_bulk(COUNT / 4, blocks);
    }
    CHECK(kmem_alloc_bulk(100, 0, NULL) == 0);
    kmem_free_bulk(0, NULL);
    struct kmem_cache_spec spec = {.name = "bulk", .size = 72, .flags = KMEM_NO_MERGE};
    kmem_cache *cache = kmem_cache_create(&spec);
    CHECK(kmem_cache_alloc_bulk(cache, COUNT, blocks) == COUNT);
    kmem_cache_free_bulk(cache, COUNT, blocks);
    CHECK(kmem_cache_alloc_bulk(cache, 0, NULL) == 0);
    kmem_cache_free_bulk(cache, 0, NULL);
    CHECK(kmem_cache_destroy(cache) == 0);
}

RULE(sizes_that_are_known) {
    for (size_t size = 0; size < 200000; size = size * 9 / 8 + 1) {
        kmem_free_sized(malloc(size), size);
        kmem_free_sized(calloc(1, size), size);
    }
    kmem_free_sized(NULL, 10);
}

RULE(knobs_statistics_and_the_walk) {
    uint64_t value = 0;
    CHECK(kmem_get("decay_ms", &value) == 0 && value == 250);
    CHECK(kmem_set("decay_ms:100") == 0 && kmem_get("decay_ms", &value) == 0 && value == 100);
    CHECK(kmem_set("no_such:1") == ENOENT && kmem_set("decay_ms:x") == EINVAL && kmem_set("cpus:1") == EBUSY);
    CHECK(kmem_get("no_such", &value) == ENOENT);
    struct kmem_stats before, during;
    kmem_stats(&before);
    void *block = malloc(10 * MIB);
    kmem_stats(&during);
    CHECK(during.used >= before.used + 10 * MIB && during.reserved >= during.used);
    free(block);
    CHECK(kmem_trim() > 0 || before.pages == 0);
    CHECK(kmem_check() == 0);
    CHECK(strchr(kmem_version(), '.'));
}

RULE(slabinfo_goes_where_it_is_told) {
    int ends[2];
    CHECK(!pipe(ends));
    char text[64] = "";
    /* A pipe takes more than the table. */
    kmem_slabinfo(ends[1]);
    CHECK(read(ends[0], text, 23) == 23 && !strcmp(text, "slabinfo - version: 2.1"));
    close(ends[0]), close(ends[1]);
}
