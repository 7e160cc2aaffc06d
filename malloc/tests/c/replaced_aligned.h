// A replacement of the aligned operator new and delete, with a header before each block: NEW and DELETE say which form it replaces.
#include "check.h"
#include <new>

static long balance, calls;
static const size_t LIVE = 0x6b6d656d6c697665;

void *NEW(size_t size, std::align_val_t align) {
    size_t before = (size_t)align < 64 ? 64 : (size_t)align;
    char *block = static_cast<char *>(aligned_alloc(before, size + before));
    if (!block) throw std::bad_alloc();
    *reinterpret_cast<size_t *>(block + before - 16) = LIVE;
    *reinterpret_cast<size_t *>(block + before - 8) = before;
    balance++;
    calls++;
    return block + before;
}

void DELETE(void *block, std::align_val_t) noexcept {
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
