/* Little address space, locked memory, a jail, filtered system calls, closed descriptors. */
#include "check.h"
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

static void limit(int which, size_t bytes) {
    struct rlimit to = {bytes, bytes};
    CHECK(!setrlimit(which, &to));
}

static size_t status_kib(const char *field) {
    char text[4096] = "";
    int file = open("/proc/self/status", O_RDONLY);
    CHECK(file >= 0 && read(file, text, sizeof text - 1) > 0);
    close(file);
    char *at = strstr(text, field);
    CHECK(at);
    return strtoul(at + strlen(field), NULL, 10);
}

/* Starts the program again under a limit, as a shell's ulimit does. */
static void under_limit(int which, size_t bytes) {
    if (getenv("KMEM_LIMITED")) return;
    limit(which, bytes);
    setenv("KMEM_LIMITED", "1", 1);
    execl("/proc/self/exe", "limited", this_rule->name, NULL);
    CHECK(!"exec");
}

/* More is not asked for, should there be no limit. */
static const size_t ENOUGH = 512 * MIB;

/* Allocates until memory is refused; answers how much there was, and frees it. */
static size_t fill_up(size_t size) {
    struct link {
        struct link *next;
    } *list = NULL;
    size_t total = 0;
    errno = 0;
    while (total < ENOUGH) {
        struct link *link = malloc(size);
        if (!link) break;
        CHECK(errno == 0 || !on_kmem());
        memset(link, 0x55, size < 4096 ? size : 4096);
        link->next = list;
        list = link;
        total += size;
    }
    CHECK(total >= ENOUGH || errno == ENOMEM);
    while (list) {
        struct link *next = list->next;
        free(list);
        list = next;
    }
    return total;
}

RULE(without_address_space_malloc_answers_null_and_recovers) {
    under_limit(RLIMIT_AS, 256 * MIB);
    size_t first = fill_up(1000);
    CHECK(first > 32 * MIB && first < 256 * MIB);
    for (size_t size = 16; size <= 16 * MIB; size = size * 7 + 16) CHECK(fill_up(size) > 8 * MIB);
    CHECK(fill_up(1000) > first / 2);
    for (int at = 0; at < 1000; at++) free(malloc(at * 10));
}

/* The program needs address space besides: for threads' stacks, libraries, mappings of its own. */
RULE(address_space_is_left_for_the_program) {
    under_limit(RLIMIT_AS, 512 * MIB);
    void *block = malloc(10 * MIB);
    for (int at = 0; at < 1000; at++) memset(malloc(1000), 1, 1000);
    void *mapping = mmap(NULL, 128 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(block && mapping != MAP_FAILED);
}

/* A program that limits itself: what it has goes on. What kmem has reserved by then counts, so that less is left for other mappings
 * than without it. */
RULE(a_limit_set_while_running) {
    enum { COUNT = 20000 };
    static void *blocks[COUNT];
    for (int at = 0; at < COUNT; at++) fill((blocks[at] = malloc(1000)), 1000, (unsigned)at);
    limit(RLIMIT_AS, 256 * MIB);
    for (int at = 0; at < COUNT; at += 2) free(blocks[at]);
    for (size_t size = 10; size < 100 * MIB; size *= 3) fill_up(size);
    for (int at = 1; at < COUNT; at += 2) CHECK(holds(blocks[at], 1000, (unsigned)at));
    for (int at = 0; at < COUNT; at += 2) CHECK((blocks[at] = malloc(1000)));
    for (int at = 0; at < COUNT; at++) free(blocks[at]);
}

static void *nothing(void *argument) { return argument; }

RULE(a_limit_set_while_running_leaves_room_for_others) {
    free(malloc(100));
    limit(RLIMIT_AS, 512 * MIB);
    pthread_t thread;
    CHECK(!pthread_create(&thread, NULL, nothing, NULL) && !pthread_join(thread, NULL));
    void *mapped = mmap(NULL, 64 * MIB, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(mapped != MAP_FAILED && !munmap(mapped, 64 * MIB));
    char *block = malloc(40 * MIB);
    CHECK(block);
    fill(block, 40 * MIB, 3);
    CHECK(holds(block, 40 * MIB, 3));
    free(block);
}

RULE(realloc_without_address_space_keeps_the_block) {
    under_limit(RLIMIT_AS, 128 * MIB);
    char *block = malloc(20 * MIB);
    CHECK(block);
    fill(block, 20 * MIB, 1);
    errno = 0;
    CHECK(!realloc(block, 500 * MIB) && errno == ENOMEM);
    CHECK(holds(block, 20 * MIB, 1));
    free(block);
}

/* A block that has to move needs address space for its growth, and for nothing else. */
RULE(realloc_moves_in_the_address_space_that_its_growth_takes) {
    const size_t before = 600 * MIB, after = 900 * MIB;
    char *block = malloc(before);
    CHECK(block);
    fill(block, 4096, 1);
    char *behind = (char *)(((uintptr_t)block + before + 4095) & ~(uintptr_t)4095);
    mmap(behind, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    limit(RLIMIT_AS, (size_t)1 << 40);
    size_t used = status_kib("VmSize:") << 10;
    limit(RLIMIT_AS, used + after + (after - before) / 2);
    block = realloc(block, after);
    CHECK(block && holds(block, 4096, 1));
    CHECK(status_kib("VmSize:") << 10 <= used + (after - before) + MIB);
    free(block);
}

static void *fill_up_repeatedly(void *size) {
    for (int round = 0; round < 5; round++) fill_up((size_t)(uintptr_t)size);
    return NULL;
}

RULE(threads_without_address_space) {
    pthread_t threads[4];
    under_limit(RLIMIT_AS, 400 * MIB);
    for (uintptr_t at = 0; at < 4; at++) CHECK(!pthread_create(&threads[at], NULL, fill_up_repeatedly, (void *)(at * 700 + 60)));
    for (int at = 0; at < 4; at++) pthread_join(threads[at], NULL);
    CHECK(fill_up(500) > 16 * MIB);
}

RULE(data_limit) {
    under_limit(RLIMIT_DATA, 128 * MIB);
    CHECK(fill_up(10000) > 16 * MIB);
    CHECK(fill_up(MIB) > 8 * MIB);
    CHECK(fill_up(100) > 16 * MIB);
}

static void lock_all(void) {
    if (mlockall(MCL_CURRENT | MCL_FUTURE)) skip("mlockall is not allowed");
}

/* All that is mapped from now on is there at once: what is only reserved must not be. */
RULE(locked_memory_is_what_is_used) {
    free(malloc(1));
    lock_all();
    size_t before = status_kib("VmRSS:");
    enum { COUNT = 32 * 1024 };
    static char *blocks[COUNT];
    for (int at = 0; at < COUNT; at++) {
        CHECK((blocks[at] = malloc(1000)));
        fill(blocks[at], 1000, (unsigned)at);
    }
    char *large = malloc(3 * MIB), *huge = malloc(40 * MIB);
    CHECK(large && huge);
    huge[40 * MIB - 1] = large[3 * MIB - 1] = 1;
    CHECK((huge = realloc(huge, 60 * MIB)) && huge[40 * MIB - 1] == 1);
    CHECK(status_kib("VmRSS:") < before + 300 * 1024);
    for (int at = 0; at < COUNT; at++) {
        CHECK(holds(blocks[at], 1000, (unsigned)at));
        free(blocks[at]);
    }
    free(large);
    free(huge);
    malloc_trim(0);
    void *again = calloc(1, 5 * MIB);
    CHECK(again && all_zero(again, 5 * MIB));
    free(again);
}

RULE(first_allocation_with_all_memory_locked) {
    lock_all();
    for (int at = 0; at < 1000; at++) memset(malloc(1000), 1, 1000);
    CHECK(status_kib("VmRSS:") < 300 * 1024);
}

/* Without the privilege there is a limit on locked memory, and mappings beyond it are refused. */
RULE(little_lockable_memory) {
    if (geteuid() != 0) skip("only root may lock memory and then drop the right");
    struct rlimit locked;
    CHECK(!getrlimit(RLIMIT_MEMLOCK, &locked));
    size_t most = locked.rlim_max < 64 * MIB ? locked.rlim_max : 64 * MIB;
    limit(RLIMIT_MEMLOCK, most);
    CHECK(!setresgid(65534, 65534, 65534) && !setresuid(65534, 65534, 65534));
    if (mlockall(MCL_FUTURE)) skip("mlockall is not allowed");
    size_t first = fill_up(2000);
    CHECK(first > most / 8);
    CHECK(fill_up(100000) > most / 8);
    CHECK(fill_up(2000) > first / 2);
}

RULE(in_an_empty_root_directory) {
    if (geteuid() != 0) skip("only root may chroot");
    CHECK(!chroot(getenv("KMEM_EMPTY")) && !chdir("/"));
    CHECK(access("/proc", F_OK));
    for (size_t size = 1; size < 64 * MIB; size = size * 3 + 1) {
        char *block = malloc(size);
        CHECK(block);
        block[size - 1] = 1;
        CHECK((block = realloc(block, size * 2)));
        free(block);
    }
    malloc_trim(0);
    (void)mallinfo2();
}

/* Nothing but these; the first two lists are those of the README, 1.8. */
#define RUNNING                                                                                                                    \
    SYS_mmap, SYS_munmap, SYS_mremap, SYS_mprotect, SYS_madvise, SYS_membarrier, SYS_clock_gettime, SYS_sched_yield,               \
        SYS_nanosleep, SYS_write
#define FIRST_CALL SYS_get_mempolicy, SYS_sched_getaffinity, SYS_openat, SYS_read, SYS_close
/* The program's own end, and its threads. */
#define PROGRAM                                                                                                                    \
    SYS_exit, SYS_exit_group, SYS_futex, SYS_clone, SYS_clone3, SYS_set_robust_list, SYS_rseq, SYS_rt_sigprocmask, SYS_rt_sigaction

static void allow_only(const int *allowed, int count, unsigned otherwise) {
    struct sock_filter filter[64], *at = filter;
    *at++ = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch));
    *at++ = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0);
    *at++ = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
    *at++ = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (int n = 0; n < count; n++)
        *at++ = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)allowed[n], (unsigned char)(count - n), 0);
    *at++ = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, otherwise);
    *at++ = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    struct sock_fprog program = {(unsigned short)(at - filter), filter};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) skip("seccomp is not allowed");
}

static void *use_heavily(void *seed) {
    enum { COUNT = 2000 };
    static __thread void *blocks[COUNT];
    uint64_t random = (uint64_t)(uintptr_t)seed * 77 + 5;
    for (int round = 0; round < 60000; round++) {
        size_t at = next_random(&random) % COUNT;
        size_t size = next_random(&random) % (round % 200 ? 4000 : round % 1000 ? 500000 : 40 * MIB) + 1;
        if (round % 3) {
            free(blocks[at]);
            blocks[at] = round % 5 ? malloc(size) : memalign(256, size);
        } else blocks[at] = realloc(blocks[at], size);
        CHECK(blocks[at]);
        *(char *)blocks[at] = 1;
        if (round % 1000 == 0) malloc_trim(0);
        if (round % 1000 == 1) (void)mallinfo2();
    }
    for (int at = 0; at < COUNT; at++) {
        free(blocks[at]);
        blocks[at] = NULL;
    }
    return NULL;
}

static void use_with_threads(void) {
    use_heavily(NULL);
    pthread_t threads[4];
    for (uintptr_t at = 0; at < 4; at++) CHECK(!pthread_create(&threads[at], NULL, use_heavily, (void *)(at + 1)));
    for (int at = 0; at < 4; at++) pthread_join(threads[at], NULL);
    static const char done[] = "done\n";
    CHECK(write(1, done, sizeof done - 1) > 0);
    _exit(0);
}

RULE(system_calls_of_a_running_program) {
    if (!on_kmem()) skip("the list is kmem's");
    static const int allowed[] = {RUNNING, PROGRAM};
    free(malloc(1));
    allow_only(allowed, sizeof allowed / sizeof *allowed, SECCOMP_RET_KILL_PROCESS);
    use_with_threads();
}

RULE(system_calls_of_the_first_allocation) {
    if (!on_kmem()) skip("the list is kmem's");
    static const int allowed[] = {FIRST_CALL, RUNNING, PROGRAM};
    allow_only(allowed, sizeof allowed / sizeof *allowed, SECCOMP_RET_KILL_PROCESS);
    use_with_threads();
}

/* A filter that refuses instead of killing, as containers have them: what cannot be had is done without. */
RULE(refused_system_calls_are_done_without) {
    static const int allowed[] = {SYS_mmap, SYS_munmap, SYS_mprotect, SYS_write, SYS_brk, PROGRAM};
    allow_only(allowed, sizeof allowed / sizeof *allowed, SECCOMP_RET_ERRNO | EPERM);
    use_with_threads();
}

RULE(system_calls_refused_later_are_done_without) {
    static const int allowed[] = {SYS_mmap, SYS_munmap, SYS_mprotect, SYS_write, SYS_brk, PROGRAM};
    use_heavily((void *)7);
    allow_only(allowed, sizeof allowed / sizeof *allowed, SECCOMP_RET_ERRNO | EPERM);
    use_with_threads();
}

/* A daemon without descriptors 0 to 2 that does something wrong is stopped all the same, and writes into no file of its own. */
RULE(a_fault_without_standard_error) {
    close(0);
    close(1);
    close(2);
    void *block = malloc(100000);
    free(block);
    free(block);
    _exit(3);
}
