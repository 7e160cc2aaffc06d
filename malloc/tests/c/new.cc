// Operator new and delete in all their forms (C++17, [new.delete]).
#include "check.h"
#include <new>

struct alignas(64) Line {
    char bytes[64];
};
struct alignas(4096) Page {
    char bytes[4096];
};

static bool throws_bad_alloc(void *(*allocate)()) {
    try {
        void *block = allocate();
        (void)block;
    } catch (const std::bad_alloc &error) {
        return error.what() != nullptr;
    } catch (...) {
        return false;
    }
    return false;
}

static size_t impossible() { return any(SIZE_MAX / 2 + 4096); }
static size_t too_much() { return any((size_t)1 << 48); }

RULE(new_gives_memory_and_delete_takes_it) {
    for (size_t size = 0; size < 40 * MIB; size = size * 2 + 1) {
        void *one = ::operator new(size), *many = ::operator new[](size);
        CHECK(one && many && one != many && aligned(one, 16) && aligned(many, 16));
        fill(one, size, 1);
        fill(many, size, 2);
        CHECK(holds(one, size, 1) && holds(many, size, 2));
        ::operator delete(one);
        ::operator delete[](many);
    }
}

RULE(new_of_zero_is_unique) {
    void *one = ::operator new(any(0)), *two = ::operator new(any(0));
    CHECK(one && two && one != two);
    ::operator delete(one);
    ::operator delete(two);
}

RULE(delete_of_null_does_nothing) {
    void *null = seen(nullptr);
    ::operator delete(null);
    ::operator delete[](null);
    ::operator delete(null, (size_t)8);
    ::operator delete[](null, (size_t)8);
    ::operator delete(null, std::align_val_t(64));
    ::operator delete[](null, std::align_val_t(64));
    ::operator delete(null, (size_t)64, std::align_val_t(64));
    ::operator delete[](null, (size_t)64, std::align_val_t(64));
    ::operator delete(null, std::nothrow);
    ::operator delete[](null, std::nothrow);
    ::operator delete(null, std::align_val_t(64), std::nothrow);
    ::operator delete[](null, std::align_val_t(64), std::nothrow);
}

RULE(sized_delete_takes_what_new_gave) {
    for (int round = 0; round < 20; round++)
        for (size_t size = 0; size < 4 * MIB; size = size * 3 / 2 + 1) {
            ::operator delete(::operator new(size), size);
            ::operator delete[](::operator new[](size), size);
        }
}

RULE(aligned_new_is_aligned) {
    for (size_t align = 1; align <= 4 * MIB; align *= 2)
        for (size_t size = 0; size < 100000; size = size * 4 + 3) {
            void *one = ::operator new(size, std::align_val_t(align)), *many = ::operator new[](size, std::align_val_t(align));
            CHECK(one && many && aligned(one, align) && aligned(many, align));
            fill(one, size, 3);
            fill(many, size, 4);
            CHECK(holds(one, size, 3) && holds(many, size, 4));
            ::operator delete(one, std::align_val_t(align));
            ::operator delete[](many, std::align_val_t(align));
        }
}

RULE(sized_aligned_delete_takes_what_aligned_new_gave) {
    for (size_t align = 16; align <= MIB; align *= 2)
        for (size_t size = 0; size < 100000; size = size * 4 + 3) {
            ::operator delete(::operator new(size, std::align_val_t(align)), size, std::align_val_t(align));
            ::operator delete[](::operator new[](size, std::align_val_t(align)), size, std::align_val_t(align));
        }
}

RULE(over_aligned_types_are_aligned) {
    for (int count = 1; count < 50; count++) {
        Line *lines = new Line[count];
        Page *page = new Page;
        CHECK(aligned(seen(lines), 64) && aligned(seen(page), 4096));
        memset(lines, 1, sizeof(Line) * count);
        memset(page, 1, sizeof(Page));
        delete[] lines;
        delete page;
    }
}

RULE(nothrow_new_gives_memory) {
    for (size_t size = 0; size < 4 * MIB; size = size * 2 + 1) {
        void *one = ::operator new(size, std::nothrow), *many = ::operator new[](size, std::nothrow);
        void *line = ::operator new(size, std::align_val_t(64), std::nothrow);
        void *lines = ::operator new[](size, std::align_val_t(64), std::nothrow);
        CHECK(one && many && line && lines && aligned(line, 64) && aligned(lines, 64));
        ::operator delete(one, std::nothrow);
        ::operator delete[](many, std::nothrow);
        ::operator delete(line, std::align_val_t(64), std::nothrow);
        ::operator delete[](lines, std::align_val_t(64), std::nothrow);
    }
}

RULE(new_throws_bad_alloc) {
    CHECK(throws_bad_alloc([] { return ::operator new(impossible()); }));
    CHECK(throws_bad_alloc([] { return ::operator new[](impossible()); }));
    CHECK(throws_bad_alloc([] { return ::operator new(impossible(), std::align_val_t(64)); }));
    CHECK(throws_bad_alloc([] { return ::operator new[](impossible(), std::align_val_t(64)); }));
    CHECK(throws_bad_alloc([] { return ::operator new(too_much()); }));
    CHECK(throws_bad_alloc([] { return ::operator new(too_much(), std::align_val_t(4096)); }));
    CHECK(throws_bad_alloc([] { return ::operator new(any(SIZE_MAX)); }));
}

// Rounding such a size up to its alignment overflows, which older versions of libstdc++ do not notice.
RULE(aligned_new_of_nearly_all_throws) {
    if (!on_kmem()) return;
    CHECK(throws_bad_alloc([] { return ::operator new(any(SIZE_MAX), std::align_val_t(64)); }));
    CHECK(throws_bad_alloc([] { return ::operator new[](any(SIZE_MAX - 1), std::align_val_t(4096)); }));
}

RULE(nothrow_new_answers_null) {
    CHECK(!seen(::operator new(impossible(), std::nothrow)));
    CHECK(!seen(::operator new[](impossible(), std::nothrow)));
    CHECK(!seen(::operator new(impossible(), std::align_val_t(64), std::nothrow)));
    CHECK(!seen(::operator new[](impossible(), std::align_val_t(64), std::nothrow)));
    CHECK(!seen(::operator new(too_much(), std::nothrow)));
}

// What throws runs destructors on its way out.
RULE(bad_alloc_unwinds_the_caller) {
    static int destroyed;
    struct Guard {
        ~Guard() { destroyed++; }
    };
    for (int round = 0; round < 1000; round++) {
        bool caught = false;
        try {
            Guard guard;
            seen(::operator new(impossible()));
        } catch (const std::bad_alloc &) { caught = true; }
        CHECK(caught && destroyed == round + 1);
    }
}

static int handler_calls;
static void gives_up_at_five() {
    if (++handler_calls == 5) std::set_new_handler(nullptr);
}

#define CALLED_FIVE_TIMES(call)                                                                                                    \
    do {                                                                                                                           \
        handler_calls = 0;                                                                                                         \
        std::set_new_handler(gives_up_at_five);                                                                                    \
        call;                                                                                                                      \
        CHECK(handler_calls == 5 && std::get_new_handler() == nullptr);                                                            \
    } while (0)

RULE(new_handler_is_called_until_it_gives_up) {
    CALLED_FIVE_TIMES(CHECK(throws_bad_alloc([] { return ::operator new(impossible()); })));
    CALLED_FIVE_TIMES(CHECK(throws_bad_alloc([] { return ::operator new[](impossible()); })));
    CALLED_FIVE_TIMES(CHECK(throws_bad_alloc([] { return ::operator new(impossible(), std::align_val_t(64)); })));
    CALLED_FIVE_TIMES(CHECK(throws_bad_alloc([] { return ::operator new[](too_much(), std::align_val_t(64)); })));
}

RULE(nothrow_new_calls_the_handler_too) {
    CALLED_FIVE_TIMES(CHECK(!seen(::operator new(impossible(), std::nothrow))));
    CALLED_FIVE_TIMES(CHECK(!seen(::operator new[](impossible(), std::nothrow))));
    CALLED_FIVE_TIMES(CHECK(!seen(::operator new(impossible(), std::align_val_t(64), std::nothrow))));
    CALLED_FIVE_TIMES(CHECK(!seen(::operator new[](too_much(), std::align_val_t(64), std::nothrow))));
}

static void throws_own() { throw std::bad_alloc(); }

// [new.delete.single]: a handler may throw bad_alloc; the nothrow form turns it into null.
RULE(a_handler_that_throws_is_heard) {
    std::set_new_handler(throws_own);
    CHECK(throws_bad_alloc([] { return ::operator new(impossible()); }));
    CHECK(!seen(::operator new(impossible(), std::nothrow)));
    CHECK(!seen(::operator new[](impossible(), std::nothrow)));
    CHECK(!seen(::operator new(impossible(), std::align_val_t(64), std::nothrow)));
    std::set_new_handler(nullptr);
}

static void *reserve_block;
static void frees_the_reserve() {
    handler_calls++;
    std::set_new_handler(nullptr);
    free(reserve_block);
}

RULE(malloc_calls_no_handler) {
    handler_calls = 0;
    reserve_block = malloc(10);
    std::set_new_handler(frees_the_reserve);
    CHECK(!malloc(impossible()) && !calloc(impossible(), 2) && !aligned_alloc(64, impossible()));
    CHECK(handler_calls == 0);
    std::set_new_handler(nullptr);
    free(reserve_block);
}

// libstdc++ and libc++ take new's memory from malloc; much code relies on it.
RULE(new_and_free_are_interchangeable) {
    for (size_t size = 1; size < 4 * MIB; size = size * 2 + 1) {
        free(::operator new(size));
        free(::operator new(size, std::align_val_t(256)));
        ::operator delete(malloc(size));
        CHECK(malloc_usable_size(reserve_block = ::operator new(size)) >= size);
        ::operator delete(reserve_block);
    }
}

// [new.delete.array]: a negative or overflowing count never reaches the operator.
RULE(new_of_an_impossible_array_throws) {
    bool caught = false;
    try {
        seen(new int[any(SIZE_MAX / 2)]);
    } catch (const std::bad_array_new_length &) {
        caught = true;
    } catch (const std::bad_alloc &) { caught = true; }
    CHECK(caught);
}
