/* Preloaded behind the allocator under test. Writes, for each program that starts, one line to $KMEM_WITNESS: the file whose malloc
   that program and its libraries call, whether $KMEM_WITNESS_OF is loaded, the program. Keeps no descriptor open. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The first object in the order of lookup that defines malloc. dlsym alone would not do: in a program that takes the address of
   malloc, that is the program's own entry for calls to it. */
static const char *definer(void)
{
    struct link_map *object = 0;
    void *handle = dlopen(0, RTLD_LAZY);
    if (!handle || dlinfo(handle, RTLD_DI_LINKMAP, &object))
        return "?";
    for (; object; object = object->l_next) {
        Dl_info info;
        struct link_map *found = 0;
        ElfW(Sym) *symbol = 0;
        void *at = 0;
        /* The program has no name, and the kernel's object no file. */
        if (*object->l_name == '/')
            handle = dlopen(object->l_name, RTLD_LAZY | RTLD_NOLOAD);
        if (!*object->l_name || *object->l_name == '/')
            at = handle ? dlsym(handle, "malloc") : 0;
        if (at && dladdr1(at, &info, (void **)&found, RTLD_DL_LINKMAP) && found == object &&
            dladdr1(at, &info, (void **)&symbol, RTLD_DL_SYMENT) && symbol && symbol->st_shndx != SHN_UNDEF)
            return info.dli_fname;
    }
    return "?";
}

__attribute__((constructor)) static void witness(void)
{
    int before = errno;
    const char *file = getenv("KMEM_WITNESS"), *library = getenv("KMEM_WITNESS_OF");
    char line[1024] = "";
    if (file) {
        strncpy(line, definer(), 400);
        strcat(line, library && dlopen(library, RTLD_LAZY | RTLD_NOLOAD) ? "\tloaded\t" : "\tabsent\t");
        size_t length = strlen(line);
        ssize_t more = readlink("/proc/self/exe", line + length, 512);
        length += more > 0 ? more : 0;
        line[length++] = '\n';
        int to = open(file, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
        if (to < 0 || write(to, line, length) != (ssize_t)length)
            _exit(99);
        close(to);
    }
    errno = before;
}
