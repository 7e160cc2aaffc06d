/* Many strings that grow piece by piece, some to a few bytes, some to hundreds of kilobytes, and one to many megabytes. */
#include "pattern.h"

enum { STRINGS = 4000, ROUNDS = 4000 * 1000 };

struct string {
    char *text;
    size_t len, limit;
};

static void append(struct string *string, char byte, size_t count) {
    string->text = got(realloc(string->text, string->len + count + 1));
    memset(string->text + string->len, byte, count);
    string->len += count;
    string->text[string->len] = 0;
}

static void run(int threads) {
    (void)threads;
    uint64_t random = seed(0);
    struct string *strings = got(calloc(STRINGS, sizeof *strings)), whole = {NULL, 0, 0};
    for (int round = 0; round < ROUNDS; round++) {
        struct string *string = &strings[next_random(&random) % STRINGS];
        if (!string->limit) string->limit = skewed(&random, 100, 200 * 1000);
        append(string, (char)('a' + round % 26), 1 + next_random(&random) % 60);
        if (round % 64 == 0) append(&whole, 'x', 1000);
        if (string->len > string->limit) {
            must(strlen(string->text) == string->len, "a string is not as it was left");
            free(string->text);
            memset(string, 0, sizeof *string);
        }
    }
    must(strlen(whole.text) == whole.len, "a string is not as it was left");
    free(whole.text);
    for (int at = 0; at < STRINGS; at++) free(strings[at].text);
    free(strings);
}
