/* memalign, aligned_alloc, posix_memalign, valloc, pvalloc. */
#include "check.h"

RULE(memalign_honours_every_power_of_two) {
    for (size_t align = 1; align <= 64 * MIB; align *= 2)
        for (size_t size = 1; size <= 300000; size = size * 5 + 3) {
            void *blocks[4];
            for (int n = 0; n < 4; n++) {
                CHECK((blocks[n] = memalign(align, size)));
                CHECK(aligned(blocks[n], align) && aligned(blocks[n], 16));
                fill(blocks[n], size, n);
            }
            for (int n = 0; n < 4; n++) {
                CHECK(holds(blocks[n], size, n));
                free(blocks[n]);
            }
        }
}

RULE(aligned_alloc_honours_every_power_of_two) {
    for (size_t align = 1; align <= 16 * MIB; align *= 2)
        for (size_t times = 1; times <= 3; times++) {
            char *block = aligned_alloc(align, align * times);
            CHECK(block && aligned(block, align));
            block[0] = block[align * times - 1] = 1;
            free(block);
        }
}

RULE(posix_memalign_honours_every_power_of_two) {
    for (size_t align = sizeof(void *); align <= 16 * MIB; align *= 2)
        for (size_t size = 0; size <= 100000; size = size * 7 + 1) {
            void *block = NULL;
            CHECK(posix_memalign(&block, align, size) == 0 && block && aligned(block, align));
            fill(block, size, 3);
            CHECK(holds(block, size, 3));
            free(block);
        }
}

/* POSIX: a power of two and a multiple of sizeof(void *), or EINVAL; the pointer is left alone. */
RULE(posix_memalign_answers_einval_and_keeps_the_pointer) {
    static const size_t wrong[] = {0, 1, 2, 3, 4, 5, 6, 7, 9, 12, 15, 17, 24, 40, 48, 100, 4095, 4097, 12288, SIZE_MAX, SIZE_MAX - 7};
    for (size_t at = 0; at < sizeof wrong / sizeof *wrong; at++) {
        void *kept = &kept;
        CHECK(posix_memalign(&kept, any(wrong[at]), 100) == EINVAL && kept == &kept);
        CHECK(posix_memalign(&kept, any(wrong[at]), 0) == EINVAL && kept == &kept);
        CHECK(posix_memalign(&kept, any(wrong[at]), SIZE_MAX) == EINVAL && kept == &kept);
    }
}

RULE(posix_memalign_of_zero_bytes_is_unique) {
    void *one = NULL, *two = NULL;
    CHECK(posix_memalign(&one, 64, 0) == 0 && posix_memalign(&two, 64, 0) == 0 && one && two && one != two);
    free(one);
    free(two);
}

RULE(aligned_alloc_of_zero_bytes_is_unique) {
    void *one = aligned_alloc(64, any(0)), *two = aligned_alloc(64, any(0));
    CHECK(one && two && one != two && aligned(one, 64) && aligned(two, 64));
    free(one);
    free(two);
}

/* C17 dropped the rule that the size be a multiple of the alignment. */
RULE(aligned_alloc_takes_any_size) {
    for (size_t size = 1; size < 300; size++) {
        void *block = aligned_alloc(64, size);
        CHECK(block && aligned(block, 64));
        fill(block, size, 4);
        CHECK(holds(block, size, 4));
        free(block);
    }
}

/* glibc up to 2.37 rounds up, later EINVAL for aligned_alloc; never a block that is less aligned than asked. */
RULE(an_alignment_that_is_no_power_of_two_is_rounded_up_or_refused) {
    static const size_t odd[] = {3, 5, 24, 48, 100, 3000, 5000};
    for (size_t at = 0; at < sizeof odd / sizeof *odd; at++) {
        size_t power = 1;
        while (power < odd[at]) power *= 2;
        errno = 0;
        void *block = memalign(any(odd[at]), 100);
        CHECK(block ? aligned(block, power) : errno == EINVAL);
        free(block);
        errno = 0;
        block = aligned_alloc(any(odd[at]), 100);
        CHECK(block ? aligned(block, power) : errno == EINVAL);
        free(block);
    }
}

RULE(memalign_rounds_odd_alignments_up) {
    void *block = memalign(any(24), 100);
    CHECK(block && aligned(block, 32));
    free(block);
    block = memalign(any(0), 100);
    CHECK(block && aligned(block, 16));
    free(block);
}

RULE(memalign_refuses_an_alignment_beyond_half_of_the_address_space) {
    errno = 0;
    CHECK(memalign(any(SIZE_MAX), 1) == NULL && (errno == EINVAL || errno == ENOMEM));
    errno = 0;
    CHECK(memalign(any(SIZE_MAX / 2 + 2), 1) == NULL && (errno == EINVAL || errno == ENOMEM));
}

RULE(valloc_is_page_aligned) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    for (size_t size = 0; size < 40000; size = size * 3 + 1) {
        void *block = valloc(size);
        CHECK(block && aligned(block, page));
        fill(block, size, 5);
        CHECK(holds(block, size, 5));
        free(block);
    }
}

RULE(pvalloc_gives_whole_pages) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    for (size_t size = 1; size < 40000; size = size * 3 + 1) {
        void *block = pvalloc(size);
        size_t whole = (size + page - 1) / page * page;
        CHECK(block && aligned(block, page) && malloc_usable_size(block) >= whole);
        fill(block, whole, 6);
        CHECK(holds(block, whole, 6));
        free(block);
    }
    void *block = pvalloc(any(0));
    CHECK(block && aligned(block, page));
    free(block);
}

RULE(aligned_blocks_of_many_kinds_live_together) {
    enum { COUNT = 2000 };
    static void *blocks[COUNT];
    static size_t sizes[COUNT];
    uint64_t random = 31;
    for (int round = 0; round < 20000; round++) {
        size_t at = next_random(&random) % COUNT, align = (size_t)16 << next_random(&random) % 10;
        if (blocks[at]) {
            CHECK(holds(blocks[at], sizes[at], (unsigned)at));
            free(blocks[at]);
        }
        sizes[at] = next_random(&random) % 2000;
        CHECK((blocks[at] = memalign(align, sizes[at])) && aligned(blocks[at], align));
        fill(blocks[at], sizes[at], (unsigned)at);
    }
    for (int at = 0; at < COUNT; at++) {
        CHECK(!blocks[at] || holds(blocks[at], sizes[at], (unsigned)at));
        free(blocks[at]);
    }
}
