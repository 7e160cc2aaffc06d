/* malloc_trim, malloc_stats, malloc_info, mallinfo, mallinfo2, mallopt. */
#include "check.h"
#include <ctype.h>
#include <fcntl.h>
#include <sys/mman.h>

static size_t resident(void) {
    char text[128] = "";
    int file = open("/proc/self/statm", O_RDONLY);
    CHECK(file >= 0 && read(file, text, sizeof text - 1) > 0);
    close(file);
    return strtoul(strchr(text, ' '), NULL, 10) * (size_t)sysconf(_SC_PAGESIZE);
}

RULE(trim_gives_memory_back) {
    enum { COUNT = 64 * 1024 };
    static void *blocks[COUNT];
    for (int at = 0; at < COUNT; at++) memset((blocks[at] = malloc(1000)), 1, 1000);
    size_t full = resident();
    for (int at = 0; at < COUNT; at++) free(blocks[at]);
    int answer = malloc_trim(0);
    CHECK(answer == 0 || answer == 1);
    CHECK(resident() + 40 * MIB < full);
}

RULE(trim_answers_one_if_it_gave_memory_back) {
    void *blocks[1000];
    malloc_trim(0);
    for (int at = 0; at < 1000; at++) memset((blocks[at] = malloc(20000)), 1, 20000);
    for (int at = 0; at < 1000; at++) free(blocks[at]);
    CHECK(malloc_trim(0) == 1);
}

RULE(trim_leaves_live_blocks_alone) {
    void *blocks[1000];
    for (int at = 0; at < 1000; at++) fill((blocks[at] = malloc(at * 13)), at * 13, at);
    for (int at = 0; at < 1000; at += 2) free(blocks[at]);
    for (int round = 0; round < 50; round++) malloc_trim(round * 4096);
    for (int at = 1; at < 1000; at += 2) {
        CHECK(holds(blocks[at], at * 13, at));
        free(blocks[at]);
    }
}

/* What it writes goes to file descriptor 2 and is text. */
RULE(stats_writes_text_to_standard_error) {
    fflush(stderr);
    int kept = dup(2), file = memfd_create("stats", 0);
    CHECK(kept >= 0 && file >= 0 && dup2(file, 2) == 2);
    void *block = malloc(12345);
    malloc_stats();
    fflush(stderr);
    free(block);
    CHECK(dup2(kept, 2) == 2);
    char text[65536];
    ssize_t len = pread(file, text, sizeof text, 0);
    CHECK(len > 20);
    for (ssize_t at = 0; at < len; at++) CHECK(isprint((unsigned char)text[at]) || isspace((unsigned char)text[at]));
    CHECK(text[len - 1] == '\n');
    close(file);
    close(kept);
}

/* Elements nest, attributes are quoted, one root: all that malloc_info's output needs of XML. */
static void well_formed(const char *text) {
    char open_tags[32][64];
    int depth = 0, roots = 0;
    for (const char *at = text; *at;) {
        if (*at != '<') {
            CHECK(*at != '>' && *at != '&');
            CHECK(depth > 0 || isspace((unsigned char)*at));
            at++;
            continue;
        }
        if (at[1] == '?' || at[1] == '!') {
            CHECK(depth == 0 && (at = strchr(at, '>')));
            at++;
            continue;
        }
        int closing = at[1] == '/';
        at += 1 + closing;
        size_t len = strcspn(at, " \t\n/>");
        CHECK(len > 0 && len < 64 && isalpha((unsigned char)*at));
        if (closing) {
            CHECK(depth > 0 && strlen(open_tags[depth - 1]) == len && !memcmp(open_tags[depth - 1], at, len));
            at += len;
            CHECK(*at++ == '>');
            depth--;
            continue;
        }
        CHECK(depth < 32 && (depth > 0 || roots++ == 0));
        memcpy(open_tags[depth], at, len);
        open_tags[depth++][len] = 0;
        at += len;
        for (;;) {
            at += strspn(at, " \t\n");
            if (*at == '>') break;
            if (*at == '/') {
                depth--;
                CHECK(*++at == '>');
                break;
            }
            CHECK(isalpha((unsigned char)*at));
            at += strcspn(at, "=<> ");
            CHECK(at[0] == '=' && at[1] == '"');
            at += 2;
            at += strcspn(at, "\"<");
            CHECK(*at++ == '"');
        }
        at++;
    }
    CHECK(depth == 0 && roots == 1);
}

RULE(info_writes_well_formed_xml) {
    void *blocks[100];
    for (int at = 0; at < 100; at++) blocks[at] = malloc(at * 977);
    char *text = NULL;
    size_t len = 0;
    FILE *stream = open_memstream(&text, &len);
    CHECK(stream && malloc_info(0, stream) == 0);
    fclose(stream);
    CHECK(text && len > 20 && strlen(text) == len && strstr(text, "<malloc"));
    well_formed(text);
    free(text);
    for (int at = 0; at < 100; at++) free(blocks[at]);
}

RULE(info_refuses_options) {
    FILE *stream = fopen("/dev/null", "w");
    CHECK(stream && malloc_info(1, stream) != 0);
    fclose(stream);
}

static size_t in_use(void) {
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

/* arena and hblkhd are what is held of the system, uordblks and fordblks how arena splits. */
static void follows_use(size_t size, int count) {
    void **blocks = malloc(sizeof(void *) * (size_t)count);
    size_t before = in_use(), total = size * (size_t)count;
    for (int at = 0; at < count; at++) CHECK((blocks[at] = malloc(size)));
    size_t full = in_use();
    struct mallinfo2 info = mallinfo2();
    CHECK(full >= before + total / 10 * 9);
    CHECK(full <= before + total / 10 * 14 + 2 * MIB);
    CHECK(info.uordblks <= info.arena + info.hblkhd);
    for (int at = 0; at < count; at++) free(blocks[at]);
    malloc_trim(0);
    CHECK(in_use() <= before + total / 10 + MIB);
    free(blocks);
}

RULE(mallinfo2_follows_small_blocks) { follows_use(500, 100000); }
RULE(mallinfo2_follows_large_blocks) { follows_use(300000, 200); }
RULE(mallinfo2_follows_huge_blocks) { follows_use(40 * MIB, 4); }

RULE(mallinfo_agrees_with_mallinfo2) {
    void *block = malloc(3 * MIB);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
    struct mallinfo narrow = mallinfo();
#pragma GCC diagnostic pop
    struct mallinfo2 wide = mallinfo2();
    CHECK((size_t)(unsigned)narrow.arena == wide.arena && (size_t)(unsigned)narrow.hblkhd == wide.hblkhd);
    CHECK((size_t)(unsigned)narrow.uordblks == wide.uordblks && (size_t)(unsigned)narrow.fordblks == wide.fordblks);
    free(block);
}

RULE(mallopt_takes_what_glibc_takes) {
    CHECK(mallopt(M_MMAP_THRESHOLD, 1 << 20) == 1);
    CHECK(mallopt(M_TRIM_THRESHOLD, 1 << 20) == 1);
    CHECK(mallopt(M_TOP_PAD, 1 << 20) == 1);
    CHECK(mallopt(M_MMAP_MAX, 1000) == 1);
    CHECK(mallopt(M_ARENA_MAX, 2) == 1);
    CHECK(mallopt(M_ARENA_TEST, 2) == 1);
    CHECK(mallopt(M_CHECK_ACTION, 3) == 1);
    CHECK(mallopt(M_MXFAST, 64) == 1);
    for (int round = 0; round < 1000; round++) {
        void *block = malloc(round * 3000);
        CHECK(block);
        fill(block, round, round);
        free(block);
    }
}

RULE(mallopt_of_anything_does_no_harm) {
    for (int parameter = -20; parameter < 20; parameter++) {
        if (parameter == M_PERTURB) continue;
        int answer = mallopt(parameter, 12345);
        CHECK(answer == 0 || answer == 1);
    }
    for (size_t size = 1; size < 40 * MIB; size = size * 2 + 1) {
        void *block = malloc(size);
        CHECK(block);
        memset(block, 1, size);
        free(block);
    }
}

RULE(usable_beside_introspection_of_all_kinds) {
    FILE *null = fopen("/dev/null", "w");
    uint64_t random = 5;
    void *blocks[64] = {NULL};
    for (int round = 0; round < 2000; round++) {
        size_t at = next_random(&random) % 64;
        free(blocks[at]);
        blocks[at] = malloc(next_random(&random) % 100000);
        switch (next_random(&random) % 40) {
        case 0: malloc_trim(0); break;
        case 1: malloc_info(0, null); break;
        case 2: (void)mallinfo2(); break;
        }
    }
    for (int at = 0; at < 64; at++) free(blocks[at]);
    fclose(null);
}
