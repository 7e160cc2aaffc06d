/* An interpreter's strings: every one made is looked up in a table of all, which grows; what no register holds any more is swept. */
#include "pattern.h"

enum { REGISTERS = 60 * 1000, ROUNDS = 2500 * 1000 };

struct string {
    struct string *next;
    uint32_t hash, len;
    int holders;
    char text[];
};

static struct string **buckets;
static size_t room, count;

static void grow(void) {
    size_t wider = room ? room * 2 : 64;
    struct string **next = got(calloc(wider, sizeof *next));
    for (size_t at = 0; at < room; at++)
        for (struct string *string = buckets[at], *after; string; string = after) {
            after = string->next;
            string->next = next[string->hash % wider];
            next[string->hash % wider] = string;
        }
    free(buckets);
    buckets = next;
    room = wider;
}

static struct string *intern(const char *text, uint32_t len) {
    uint32_t hash = 2166136261u;
    for (uint32_t at = 0; at < len; at++) hash = (hash ^ (unsigned char)text[at]) * 16777619u;
    if (count >= room) grow();
    for (struct string *string = buckets[hash % room]; string; string = string->next)
        if (string->hash == hash && string->len == len && !memcmp(string->text, text, len)) return string;
    struct string *string = got(malloc(sizeof *string + len + 1));
    *string = (struct string){buckets[hash % room], hash, len, 0};
    memcpy(string->text, text, len);
    string->text[len] = 0;
    buckets[hash % room] = string;
    count++;
    return string;
}

static void sweep(void) {
    for (size_t at = 0; at < room; at++)
        for (struct string **link = &buckets[at]; *link;) {
            struct string *string = *link;
            if (string->holders) link = &string->next;
            else {
                *link = string->next;
                free(string);
                count--;
            }
        }
}

static void run(int threads) {
    (void)threads;
    uint64_t random = seed(0);
    struct string **registers = got(calloc(REGISTERS, sizeof *registers));
    for (int round = 0; round < ROUNDS; round++) {
        struct string **target = &registers[next_random(&random) % REGISTERS], *part = registers[next_random(&random) % REGISTERS];
        char text[256];
        int len = snprintf(text, sizeof text, "%.*s%llu", part ? (int)(part->len % 60) : 0, part ? part->text : "",
                           (unsigned long long)next_random(&random) % 100000);
        struct string *made = intern(text, (uint32_t)len);
        made->holders++;
        if (*target) (*target)->holders--;
        *target = made;
        if (count > 3 * REGISTERS) sweep();
    }
    for (int at = 0; at < REGISTERS; at++)
        if (registers[at]) registers[at]->holders = 0;
    sweep();
    must(count == 0, "strings are left");
    free(buckets);
    free(registers);
}
