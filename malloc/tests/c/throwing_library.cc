// A C++ library in a program that is none, where nobody but the library sees the C++ runtime.
#include <new>
#include <cstddef>

static int calls;
static void gives_up_at_three() {
    if (++calls == 3) std::set_new_handler(nullptr);
}

extern "C" int catches(size_t size) {
    std::set_new_handler(gives_up_at_three);
    try {
        ::operator delete(::operator new(size));
    } catch (const std::bad_alloc &) { return calls; }
    return -1;
}

extern "C" int answers_null(size_t size) { return !::operator new(size, std::nothrow) && !::operator new(size, std::align_val_t(64), std::nothrow); }
