// A program that replaces operator new and delete, with a header before each block, but none of the forms that the standard
// defines through them: those must go through the replacement, whichever library has defined them ([new.delete.single]/4 and on).
#include "check.h"
#include <new>
#include <string>
#include <vector>
#include <map>

struct Header {
    size_t magic, size;
};
static const size_t LIVE = 0x6b6d656d6c697665, DEAD = 0x6b6d656d64656164;
static long balance, calls;

void *operator new(size_t size) {
    Header *header = static_cast<Header *>(malloc(sizeof(Header) + size));
    if (!header) throw std::bad_alloc();
    *header = {LIVE, size};
    balance++;
    calls++;
    return header + 1;
}

void operator delete(void *block) noexcept {
    if (!block) return;
    Header *header = static_cast<Header *>(block) - 1;
    CHECK(header->magic == LIVE);
    header->magic = DEAD;
    balance--;
    calls++;
    free(header);
}

#define THROUGH_THE_REPLACEMENT(allocate, release)                                                                                 \
    do {                                                                                                                           \
        long before = calls;                                                                                                       \
        void *block = seen(allocate);                                                                                              \
        CHECK(block && calls == before + 1 && balance == 1);                                                                       \
        CHECK((static_cast<Header *>(block) - 1)->magic == LIVE);                                                                  \
        memset(block, 1, 100);                                                                                                     \
        release;                                                                                                                   \
        CHECK(calls == before + 2 && balance == 0);                                                                                \
    } while (0)

RULE(plain) { THROUGH_THE_REPLACEMENT(::operator new(100), ::operator delete(block)); }
RULE(array) { THROUGH_THE_REPLACEMENT(::operator new[](100), ::operator delete[](block)); }
RULE(nothrow) { THROUGH_THE_REPLACEMENT(::operator new(100, std::nothrow), ::operator delete(block, std::nothrow)); }
RULE(array_nothrow) { THROUGH_THE_REPLACEMENT(::operator new[](100, std::nothrow), ::operator delete[](block, std::nothrow)); }
RULE(sized) { THROUGH_THE_REPLACEMENT(::operator new(100), ::operator delete(block, (size_t)100)); }
RULE(array_sized) { THROUGH_THE_REPLACEMENT(::operator new[](100), ::operator delete[](block, (size_t)100)); }

// The aligned forms have a primary pair of their own, which is not replaced.
RULE(aligned_forms_stay_apart) {
    long before = calls;
    void *one = seen(::operator new(100, std::align_val_t(64))), *many = seen(::operator new[](100, std::align_val_t(64)));
    void *quiet = seen(::operator new(100, std::align_val_t(64), std::nothrow));
    CHECK(one && many && quiet && aligned(one, 64) && aligned(many, 64) && aligned(quiet, 64));
    ::operator delete(one, (size_t)100, std::align_val_t(64));
    ::operator delete[](many, std::align_val_t(64));
    ::operator delete(quiet, std::align_val_t(64), std::nothrow);
    CHECK(calls == before && balance == 0);
}

RULE(nothrow_turns_what_the_replacement_throws_into_null) {
    CHECK(!seen(::operator new(any(SIZE_MAX / 2), std::nothrow)));
    CHECK(!seen(::operator new[](any(SIZE_MAX / 2), std::nothrow)));
    CHECK(balance == 0);
}

RULE(the_library_goes_through_the_replacement) {
    long before = calls;
    {
        std::vector<std::string> words;
        std::map<std::string, int> counts;
        for (int at = 0; at < 2000; at++) {
            words.push_back("a word that is too long for the small string " + std::to_string(at));
            counts[words.back()]++;
        }
        CHECK(balance > 2000);
    }
    CHECK(calls > before + 4000 && balance == 0);
}
