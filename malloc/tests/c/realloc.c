/* realloc and reallocarray: content, zero sizes, chains across every class and every way a block can be kept. */
#include "check.h"

RULE(realloc_of_null_allocates) {
    void *block = realloc(NULL, 100);
    CHECK(block);
    fill(block, 100, 1);
    CHECK(holds(block, 100, 1));
    free(block);
}

RULE(realloc_of_null_to_zero_allocates) {
    void *block = realloc(NULL, any(0));
    CHECK(block);
    free(block);
}

/* As glibc does; C23 leaves it undefined, POSIX allows it. */
RULE(realloc_to_zero_frees_and_returns_null) {
    static const size_t sizes[] = {0, 1, 100, 40000, 3 << 20, 40 << 20};
    for (int round = 0; round < 200; round++)
        for (int at = 0; at < 6; at++) {
            void *block = malloc(sizes[at]);
            CHECK(block);
            errno = 4711;
            CHECK(realloc(block, any(0)) == NULL && errno == 4711);
        }
    CHECK(reallocarray(malloc(50), any(0), 10) == NULL);
    CHECK(reallocarray(malloc(50), 10, any(0)) == NULL);
}

RULE(realloc_to_the_same_size_keeps_content) {
    for (size_t *size = boundary_sizes(8 * MIB); *size; size += 3) {
        void *block = malloc(*size);
        fill(block, *size, 2);
        CHECK((block = realloc(block, *size)));
        CHECK(holds(block, *size, 2));
        free(block);
    }
}

static void chain(const size_t *sizes, size_t count, size_t limit) {
    void *block = malloc(1);
    size_t len = 1;
    fill(block, 1, 3);
    for (size_t step = 0; step < 2 * count; step++) {
        size_t next = sizes[step < count ? step : 2 * count - 1 - step];
        CHECK((block = realloc(block, next)));
        CHECK(malloc_usable_size(block) >= next);
        CHECK(holds(block, len < next ? len : next, 3));
        fill(block, next, 3);
        len = next;
    }
    CHECK(len <= limit);
    free(block);
}

RULE(content_survives_a_chain_over_every_small_class) {
    size_t *sizes = boundary_sizes(128 * KIB), count = 0;
    while (sizes[count]) count++;
    chain(sizes, count, 128 * KIB);
}

RULE(content_survives_a_chain_over_large_and_huge_blocks) {
    static const size_t sizes[] = {16 * KIB, 32 * KIB, 33 * KIB, 64 * KIB, 65 * KIB, 100 * KIB, 1 * MIB, 1 * MIB + 1, 3 * MIB, 10 * MIB, 31 * MIB,
                                   32 * MIB - 1, 32 * MIB, 32 * MIB + 1, 40 * MIB, 64 * MIB, 70 * MIB, 96 * MIB};
    chain(sizes, sizeof sizes / sizeof *sizes, 96 * MIB);
}

/* The ends and the middle of a block, for blocks so large that all of them would take long. */
enum { WINDOW = 64 * 1024 };

static void fill_windows(char *block, size_t len) {
    if (len <= 4 * WINDOW) return fill(block, len, 4);
    fill(block, WINDOW, 4);
    fill(block + len / 2, WINDOW, 5);
    fill(block + len - WINDOW, WINDOW, 6);
}

static int windows_hold(const char *block, size_t len) {
    if (len <= 4 * WINDOW) return holds(block, len, 4);
    return holds(block, WINDOW, 4) && holds(block + len / 2, WINDOW, 5) && holds(block + len - WINDOW, WINDOW, 6);
}

RULE(content_survives_jumps_between_small_large_and_huge) {
    static const size_t sizes[] = {10, 33 << 20, 1000, 100 << 10, 24, 50 << 20, 40 << 20, 31 << 20, 200 << 10, 60 << 20, 16, 5000};
    enum { COUNT = sizeof sizes / sizeof *sizes };
    for (int from = 0; from < COUNT; from++)
        for (int to = 0; to < COUNT; to++) {
            char *block = malloc(sizes[from]);
            size_t kept = sizes[from] < sizes[to] ? sizes[from] : sizes[to];
            fill_windows(block, kept);
            CHECK((block = realloc(block, sizes[to])));
            CHECK(windows_hold(block, kept));
            memset(block, 1, sizes[to] < WINDOW ? sizes[to] : WINDOW);
            block[sizes[to] - 1] = 1;
            free(block);
        }
}

RULE(content_survives_random_walks_beside_neighbours) {
    enum { COUNT = 300 };
    static void *blocks[COUNT];
    static size_t sizes[COUNT];
    uint64_t random = 7;
    for (int round = 0; round < 30000; round++) {
        size_t at = next_random(&random) % COUNT, next = next_random(&random) % (round % 50 ? 3000 : 150000) + 1;
        CHECK((blocks[at] = realloc(blocks[at], next)));
        CHECK(holds(blocks[at], sizes[at] < next ? sizes[at] : next, (unsigned)at));
        fill(blocks[at], next, (unsigned)at);
        sizes[at] = next;
    }
    for (int at = 0; at < COUNT; at++) {
        CHECK(!blocks[at] || holds(blocks[at], sizes[at], (unsigned)at));
        free(blocks[at]);
    }
}

RULE(realloc_of_an_aligned_block_keeps_content) {
    for (size_t align = 16; align <= 4 * MIB; align *= 2)
        for (size_t size = 1; size <= 100000; size = size * 3 + 5) {
            void *block = aligned_alloc(align, size);
            CHECK(block && aligned(block, align));
            fill(block, size, 8);
            CHECK((block = realloc(block, size * 2)));
            CHECK(holds(block, size, 8));
            CHECK((block = realloc(block, size / 2 + 1)));
            CHECK(holds(block, size / 2 + 1, 8));
            free(block);
        }
}

RULE(reallocarray_is_realloc_of_the_product) {
    int *numbers = NULL;
    for (size_t count = 1; count < 3000; count += 7) {
        CHECK((numbers = reallocarray(numbers, count, sizeof *numbers)));
        for (size_t at = count > 7 ? count - 7 : 0; at < count; at++) numbers[at] = (int)at;
    }
    for (int at = 0; at < 2990; at++) CHECK(numbers[at] == at);
    free(numbers);
}

/* A string that grows byte by byte, as real programs do it. */
RULE(a_block_grown_byte_by_byte_keeps_content) {
    char *text = NULL;
    for (size_t len = 1; len <= 200000; len += len < 5000 ? 1 : 97) {
        CHECK((text = realloc(text, len)));
        size_t from = len < 5000 ? len - 1 : len - 97;
        if (len <= 97) from = len - 1;
        for (size_t at = from; at < len; at++) text[at] = (char)pattern(9, at);
    }
    CHECK(holds(text, 4999, 9));
    free(text);
}
