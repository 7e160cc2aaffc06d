/* Blocks of all sizes, filled, checked, resized and freed, by four threads that also free each other's. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { THREADS = 4, SLOTS = 512 };

static struct { unsigned char *at; size_t size; } shared[SLOTS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static long rounds;

static void *work(void *number)
{
    unsigned long state = (unsigned long)number * 2654435761u + 1;
    for (long i = 0; i < rounds; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        size_t slot = (state >> 33) % SLOTS, size = (state >> 42) % ((state >> 20) % 64 ? 600 : 60000) + 1;
        unsigned char *mine = i % 5 ? malloc(size) : calloc(1, size);
        if (!mine || (i % 5 == 0 && mine[size - 1]))
            abort();
        if (i % 7 == 0) {
            size = size * 3 / 2;
            if (!(mine = realloc(mine, size)))
                abort();
        }
        memset(mine, (unsigned char)size, size);
        pthread_mutex_lock(&lock);
        unsigned char *other = shared[slot].at;
        size_t others = shared[slot].size;
        shared[slot].at = mine, shared[slot].size = size;
        pthread_mutex_unlock(&lock);
        if (other && (other[0] != (unsigned char)others || other[others - 1] != (unsigned char)others))
            abort();
        free(other);
    }
    return 0;
}

int main(int count, char **arguments)
{
    rounds = count > 1 ? atol(arguments[1]) : 100000;
    pthread_t threads[THREADS];
    for (long i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], 0, work, (void *)(i + 1)))
            abort();
    for (long i = 0; i < THREADS; i++)
        pthread_join(threads[i], 0);
    for (int i = 0; i < SLOTS; i++)
        free(shared[i].at);
    printf("%ld rounds in %d threads\n", rounds, THREADS);
    return 0;
}
