"""Loads kmem into a running Python whose static thread-local storage is used up, and uses it there; then in a second process loads it
and unloads it unused."""
import ctypes
import os
import sys
import threading

kmem_path, takers = sys.argv[1], sys.argv[2:]

if not takers:
    handle = ctypes.CDLL(kmem_path, mode=os.RTLD_LOCAL | os.RTLD_NOW)._handle
    dlclose = ctypes.CDLL(None).dlclose
    dlclose.argtypes = [ctypes.c_void_p]
    assert dlclose(handle) == 0
    with open("/proc/self/maps") as maps:
        assert not any(os.path.realpath(kmem_path) in line for line in maps), "still mapped"
    # And again, and in use.
    for _ in range(3):
        handle = ctypes.CDLL(kmem_path)._handle
        assert dlclose(handle) == 0
    print("unloaded")
    sys.exit()

refused = 0
for taker in takers:
    try:
        ctypes.CDLL(taker)
    except OSError:
        refused += 1
assert refused, "static thread-local storage was not used up"

kmem = ctypes.CDLL(kmem_path)
for name in "malloc", "calloc", "realloc", "aligned_alloc":
    getattr(kmem, name).restype = ctypes.c_void_p
    getattr(kmem, name).argtypes = [ctypes.c_void_p if name == "realloc" else ctypes.c_size_t, ctypes.c_size_t][: 1 if name == "malloc" else 2]
kmem.free.argtypes = [ctypes.c_void_p]
kmem.malloc_usable_size.argtypes = [ctypes.c_void_p]
kmem.malloc_usable_size.restype = ctypes.c_size_t


def use(seed):
    blocks = {}
    for round in range(4000):
        at, size = (round * 31 + seed) % 97, (round * 7919 + seed) % (3000 if round % 50 else 300000) + 1
        if at in blocks:
            old, old_size, byte = blocks.pop(at)
            kept = min(old_size, size)
            old = kmem.realloc(old, size)
            assert old and ctypes.string_at(old, min(kept, 64)) == bytes([byte]) * min(kept, 64)
            kmem.free(old)
        block = kmem.malloc(size) if round % 2 else kmem.calloc(size, 1)
        assert block and block % 16 == 0 and kmem.malloc_usable_size(block) >= size
        ctypes.memset(block, round % 256, size)
        blocks[at] = block, size, round % 256
    for block, _, _ in blocks.values():
        kmem.free(block)


use(0)
threads = [threading.Thread(target=use, args=(seed,)) for seed in range(1, 5)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
# In use, it stays, whatever the program says: threads may be inside it.
ctypes.CDLL(None).dlclose(ctypes.c_void_p(kmem._handle))
use(9)
print("used")
