// As replaced_aligned.cc, for the aligned pair of arrays alone: only the form that returns null is derived from it.
#include "check.h"
#include <new>

static long balance, calls;
static const size_t LIVE = 0x6b6d656d6c697665;

void *operator new[](size_t size, std::align_val_t align) {
    size_t before = (size_t)align < 64 ? 64 : (size_t)align;
    char *block = static_cast<char *>(aligned_alloc(before, size + before));
    if (!block) throw std::bad_alloc();
    *reinterpret_cast<size_t *>(block + before - 16) = LIVE;
    *reinterpret_cast<size_t *>(block + before - 8) = before;
    balance++;
    calls++;
    return block + before;
}

void operator delete[](void *block, std::align_val_t) noexcept {
    if (!block) return;
    size_t *header = reinterpret_cast<size_t *>(block) - 2;
    CHECK(header[0] == LIVE);
    balance--;
    calls++;
    free(static_cast<char *>(block) - header[1]);
}

#define ALIGN std::align_val_t(64)
#define THROUGH_THE_REPLACEMENT(allocate, release)                                                                                 \
    do {                                                                                                                           \
        long before = calls;                                                                                                       \
        void *block = seen(allocate);                                                                                              \
        CHECK(block && calls == before + 1 && balance == 1 && aligned(block, 64));                                                 \
        release;                                                                                                                   \
        CHECK(calls == before + 2 && balance == 0);                                                                                \
    } while (0)

RULE(array) { THROUGH_THE_REPLACEMENT(::operator new[](100, ALIGN), ::operator delete[](block, ALIGN)); }
RULE(array_nothrow) {
    THROUGH_THE_REPLACEMENT(::operator new[](100, ALIGN, std::nothrow), ::operator delete[](block, ALIGN, std::nothrow));
}
RULE(array_sized) { THROUGH_THE_REPLACEMENT(::operator new[](100, ALIGN), ::operator delete[](block, (size_t)100, ALIGN)); }

RULE(others_stay_apart) {
    long before = calls;
    ::operator delete(seen(::operator new(100, ALIGN)), ALIGN);
    ::operator delete(seen(::operator new(100, ALIGN, std::nothrow)), ALIGN, std::nothrow);
    ::operator delete(seen(::operator new(100, ALIGN)), (size_t)100, ALIGN);
    ::operator delete[](seen(::operator new[](100)));
    ::operator delete[](seen(::operator new[](100, std::nothrow)), std::nothrow);
    CHECK(calls == before);
}

RULE(nothrow_turns_what_the_replacement_throws_into_null) {
    CHECK(!seen(::operator new[](any(SIZE_MAX / 2), ALIGN, std::nothrow)));
    CHECK(balance == 0);
}
