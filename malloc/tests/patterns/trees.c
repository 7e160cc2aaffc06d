/* Binary trees that are built, walked and taken down, beside one that lives throughout. */
#include "pattern.h"

struct node {
    struct node *left, *right;
};

static int depth_of_all = 18;

static struct node *build(int depth) {
    struct node *node = got(malloc(sizeof *node));
    node->left = depth ? build(depth - 1) : NULL;
    node->right = depth ? build(depth - 1) : NULL;
    return node;
}

static int walk(const struct node *node) { return node->left ? 1 + walk(node->left) + walk(node->right) : 1; }

static void take_down(struct node *node) {
    if (node->left) {
        take_down(node->left);
        take_down(node->right);
    }
    free(node);
}

static void *body(void *number) {
    (void)number;
    struct node *lasting = build(depth_of_all);
    for (int depth = 4; depth <= depth_of_all; depth += 4)
        for (int round = 0; round < 3 << (depth_of_all - depth); round++) {
            struct node *tree = build(depth);
            must(walk(tree) == (2 << depth) - 1, "a tree is not as it was built");
            take_down(tree);
        }
    must(walk(lasting) == (2 << depth_of_all) - 1, "a tree is not as it was built");
    take_down(lasting);
    return NULL;
}

static void run(int threads) {
    on_threads(threads, body), on_threads(threads, body);
}
