// As replaced.cc, for the aligned pair.
#define NEW operator new
#define DELETE operator delete
#include "replaced_aligned.h"

RULE(plain) { THROUGH_THE_REPLACEMENT(::operator new(100, ALIGN), ::operator delete(block, ALIGN)); }
RULE(array) { THROUGH_THE_REPLACEMENT(::operator new[](100, ALIGN), ::operator delete[](block, ALIGN)); }
RULE(nothrow) { THROUGH_THE_REPLACEMENT(::operator new(100, ALIGN, std::nothrow), ::operator delete(block, ALIGN, std::nothrow)); }
RULE(array_nothrow) {
    THROUGH_THE_REPLACEMENT(::operator new[](100, ALIGN, std::nothrow), ::operator delete[](block, ALIGN, std::nothrow));
}
RULE(sized) { THROUGH_THE_REPLACEMENT(::operator new(100, ALIGN), ::operator delete(block, (size_t)100, ALIGN)); }
RULE(array_sized) { THROUGH_THE_REPLACEMENT(::operator new[](100, ALIGN), ::operator delete[](block, (size_t)100, ALIGN)); }

RULE(plain_forms_stay_apart) {
    long before = calls;
    ::operator delete(seen(::operator new(100)));
    ::operator delete[](seen(::operator new[](100)));
    CHECK(calls == before);
}

RULE(nothrow_turns_what_the_replacement_throws_into_null) {
    CHECK(!seen(::operator new(any(SIZE_MAX / 2), ALIGN, std::nothrow)));
    CHECK(balance == 0);
}
