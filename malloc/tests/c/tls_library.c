/* A library that takes what static thread-local storage is left for libraries that come late. Named by its size, so that the largest
 * that still fits can be found. */
__thread char taken[TAKEN] __attribute__((tls_model("initial-exec")));
char *take(void) { return taken; }
