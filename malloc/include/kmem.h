/* kmem.h: what libkmem.so offers beside the C library's malloc family.
 *
 * Link with -lkmem, or preload libkmem.so. Every function may be called from any thread. Functions that return an int return 0 or an
 * error number. Sizes are in bytes.
 */
#ifndef KMEM_H
#define KMEM_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Object caches: objects of one size, constructed once and used many times (kmem_cache_create in the kernel). */

typedef struct kmem_cache kmem_cache;

enum {
    KMEM_HWCACHE_ALIGN = 1, /* objects start on a cache line of their own */
    KMEM_LOWMEM = 2,        /* as little cached as possible */
    KMEM_NO_MERGE = 4       /* never shares slabs with an equal cache */
};

struct kmem_cache_spec {
    const char *name; /* for statistics; cut to 31 bytes */
    size_t size;      /* of an object: at most 256 KiB */
    size_t align;     /* a power of two, at most 64 KiB; 0: none in particular */
    unsigned flags;   /* KMEM_... */
    /* Called once per object, when its slab is made and when it goes; either may be NULL. Whoever frees an object leaves it in its
     * constructed state. They may be called from any thread, and must not use the cache themselves. */
    void (*constructor)(void *object, void *context);
    void (*destructor)(void *object, void *context);
    void *context;
};

/* NULL and errno: EINVAL (size or alignment), ENOMEM, ENOSPC (1024 caches exist). */
kmem_cache *kmem_cache_create(const struct kmem_cache_spec *spec);
/* NULL and ENOMEM if there is no memory. */
void *kmem_cache_alloc(kmem_cache *cache);
/* NULL is ignored. */
void kmem_cache_free(kmem_cache *cache, void *object);
/* Allocates up to count objects; returns how many: fewer only if there is no memory for more. */
size_t kmem_cache_alloc_bulk(kmem_cache *cache, size_t count, void **objects);
void kmem_cache_free_bulk(kmem_cache *cache, size_t count, void *const *objects);
/* Gives up what the cache does not use; returns bytes of slabs that went to other uses, or to the system in time. */
size_t kmem_cache_shrink(kmem_cache *cache);
/* 0, or the number of objects that are in use: then the cache lives on. Nobody may use the cache meanwhile or after. A cache that shares
 * its slabs with an equal one (KMEM_NO_MERGE forbids it) is only taken leave of. */
size_t kmem_cache_destroy(kmem_cache *cache);
/* Sets cpu_queue_size, batch_size, shared_queue_size or min_partial. ENOENT: no such tunable; EINVAL: not such a value; ENOTSUP: this
 * system cannot interrupt other CPUs. */
int kmem_cache_tune(kmem_cache *cache, const char *tunable, unsigned value);

/* ---- Blocks, for callers who know more than malloc's. */

/* As free, of a block that malloc, calloc or kmem_alloc_bulk was asked for with exactly this size: needs no look-up. NULL is ignored. Not
 * for blocks that are aligned or have been through realloc. A wrong size is a fault. */
void kmem_free_sized(void *block, size_t size);
/* Allocates up to count blocks of size bytes; returns how many: fewer only if there is no memory for more. Up to 32 KiB it takes whole
 * queues and slabs at a time; of larger blocks, one after another, as malloc. */
size_t kmem_alloc_bulk(size_t size, size_t count, void **blocks);
/* Frees count blocks of any sizes, one after another; NULLs are ignored. */
void kmem_free_bulk(size_t count, void *const *blocks);

/* ---- Asking and telling. */

struct kmem_stats {
    size_t used;      /* handed out by the page supply: slabs, large blocks, metadata */
    size_t reserved;  /* address space */
    uint64_t refused; /* requests for pages that were refused */
    /* Kept without being in use: */
    size_t queues;   /* objects in the CPUs' queues */
    size_t depots;   /* objects in depots */
    size_t slabs;    /* free objects in slabs */
    size_t pages;    /* free pages that may be backed by memory */
    size_t metadata; /* descriptors, queues, caches */
};

/* Walks every partial slab: milliseconds on a large heap. */
void kmem_stats(struct kmem_stats *stats);
/* Writes the table of caches that /proc/slabinfo would show. */
void kmem_slabinfo(int fd);
/* Gives back everything that is not in use; returns bytes that went back. */
size_t kmem_trim(void);
/* Turns a knob: "decay_ms:250". ENOENT: no such knob; EINVAL: not such a value; EBUSY: only before the first allocation (KMEM_CONF). */
int kmem_set(const char *setting);
/* Reads a knob. ENOENT: no such knob; ENOMEM: no memory to start with. */
int kmem_get(const char *knob, uint64_t *value);
/* Walks every invariant of the heap while nobody else allocates: 0, or 1 if one is broken. */
int kmem_check(void);
/* "0.1.0" */
const char *kmem_version(void);

#ifdef __cplusplus
}
#endif

#endif
