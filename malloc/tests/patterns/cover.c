/* Minimises a boolean function by merging cubes (Quine and McCluskey), every cube and every list a block of its own. */
#include "pattern.h"

enum { VARIABLES = 10, ROUNDS = 6 };

struct cube {
    struct cube *next;
    uint32_t *values, *mask;
    int merged;
};

static struct cube *make(uint32_t value, uint32_t mask, struct cube *next) {
    struct cube *cube = got(malloc(sizeof *cube));
    cube->values = got(malloc(8));
    cube->mask = got(malloc(8));
    *cube->values = value;
    *cube->mask = mask;
    cube->merged = 0;
    cube->next = next;
    return cube;
}

static void drop(struct cube *cube) {
    while (cube) {
        struct cube *next = cube->next;
        free(cube->values);
        free(cube->mask);
        free(cube);
        cube = next;
    }
}

enum { TABLE = 4096 };

static struct cube *unique(struct cube *list) {
    struct cube **table = got(calloc(TABLE, sizeof *table)), *result = NULL;
    for (struct cube *cube = list; cube; cube = cube->next) {
        struct cube **link = &table[(*cube->values * 31 + *cube->mask * 7919) % TABLE];
        while (*link && (*(*link)->values != *cube->values || *(*link)->mask != *cube->mask)) link = &(*link)->next;
        if (!*link) *link = make(*cube->values, *cube->mask, NULL);
    }
    for (int at = 0; at < TABLE; at++)
        while (table[at]) {
            struct cube *cube = table[at];
            table[at] = cube->next;
            cube->next = result;
            result = cube;
        }
    free(table);
    drop(list);
    return result;
}

static int minimise(uint64_t random) {
    struct cube *level = NULL, *primes = NULL;
    int count = 0;
    for (uint32_t value = 0; value < 1u << VARIABLES; value++)
        if (next_random(&random) % 100 < 62) level = make(value, 0, level);
    while (level) {
        struct cube *next = NULL, **by_value = got(calloc((size_t)1 << (VARIABLES), sizeof *by_value));
        /* Cubes with the same mask that differ in one bit merge; looked up by value, chained through copies. */
        for (struct cube *cube = level; cube; cube = cube->next) {
            struct cube *copy = make(*cube->values, *cube->mask, by_value[*cube->values]);
            by_value[*cube->values] = copy;
        }
        for (struct cube *cube = level; cube; cube = cube->next)
            for (uint32_t bit = 1; bit < 1u << VARIABLES; bit <<= 1) {
                if (*cube->mask & bit) continue;
                for (struct cube *other = by_value[*cube->values ^ bit]; other; other = other->next)
                    if (*other->mask == *cube->mask) {
                        cube->merged = 1;
                        if (!(*cube->values & bit)) next = make(*cube->values, *cube->mask | bit, next);
                        break;
                    }
            }
        for (struct cube *cube = level; cube; cube = cube->next)
            if (!cube->merged) {
                primes = make(*cube->values, *cube->mask, primes);
                count++;
            }
        for (int at = 0; at < 1 << VARIABLES; at++) drop(by_value[at]);
        free(by_value);
        drop(level);
        level = unique(next);
    }
    drop(primes);
    return count;
}

static void run(int threads) {
    (void)threads;
    for (int round = 0; round < ROUNDS * 50; round++) must(minimise(seed(round)) > 0, "nothing is prime");
}
