/* Rounds in which each thread builds up live data of many sizes, some of it kept, some passed on through a common table; between rounds
 * the threads end. */
#include "pattern.h"

enum { TABLE = 1000, ITEMS = 12 * 1000, ROUNDS = 100 };

static void *_Atomic table[TABLE];

static void *item(uint64_t *random) {
    size_t words = 1 + next_random(random) % 32;
    uint64_t rare = next_random(random) % 1000;
    if (rare == 0) words *= 1000;
    else if (rare < 10) words *= 100;
    else if (rare < 100) words *= 10;
    uint64_t *block = got(next_random(random) % 4 ? malloc((words + 1) * 8) : calloc(words + 1, 8));
    block[0] = words;
    for (size_t at = 1; at <= words && at < 64; at++) block[at] = words ^ at;
    return block;
}

static void drop(uint64_t *block) {
    if (!block) return;
    for (size_t at = 1; at <= block[0] && at < 64; at++) must(block[at] == (block[0] ^ at), "a block is not as it was left");
    free(block);
}

static void *body(void *number) {
    uint64_t random = seed((int)(intptr_t)number);
    size_t live = 0, room = 16;
    uint64_t **blocks = got(malloc(room * sizeof *blocks));
    for (int round = 0; round < ITEMS; round++) {
        if (live == room) blocks = got(realloc(blocks, (room *= 2) * sizeof *blocks));
        blocks[live++] = item(&random);
        if (next_random(&random) % 10 < 3) drop(blocks[--live]);
        if (live && next_random(&random) % 10 < 3) {
            size_t at = next_random(&random) % live;
            blocks[at] = __atomic_exchange_n((uint64_t **)&table[next_random(&random) % TABLE], blocks[at], __ATOMIC_ACQ_REL);
        }
    }
    while (live) drop(blocks[--live]);
    free(blocks);
    return NULL;
}

static void run(int threads) {
    for (int round = 0; round < ROUNDS; round++) {
        on_threads(threads, body);
        for (int at = 0; at < TABLE; at++)
            if (round % 8 == 7) {
                drop(table[at]);
                table[at] = NULL;
            }
    }
    for (int at = 0; at < TABLE; at++) drop(table[at]);
}
