/* Barnes and Hut's n bodies in the plane: an octree's little brother built anew in each step, node by node, and taken down. */
#include "pattern.h"

enum { BODIES = 6000, STEPS = 100 };

struct body {
    double x, y, vx, vy, mass;
};

struct node {
    struct node *children[4];
    struct body *body;
    double mass, x, y;
};

static struct node *insert(struct node *node, struct body *body, double x, double y, double half, int depth) {
    if (!node) {
        node = got(calloc(1, sizeof *node));
        node->body = body;
    } else if (depth < 40) {
        struct body *moving[] = {body, node->body};
        node->body = NULL;
        for (int at = 0; at < 2; at++) {
            struct body *next = moving[at];
            if (!next) continue;
            int quarter = (next->x > x) | (next->y > y) << 1;
            double nx = x + (quarter & 1 ? half : -half) / 2, ny = y + (quarter & 2 ? half : -half) / 2;
            node->children[quarter] = insert(node->children[quarter], next, nx, ny, half / 2, depth + 1);
        }
    }
    node->x = (node->x * node->mass + body->x * body->mass) / (node->mass + body->mass);
    node->y = (node->y * node->mass + body->y * body->mass) / (node->mass + body->mass);
    node->mass += body->mass;
    return node;
}

static void pull(const struct node *node, struct body *body, double half) {
    if (!node || node->body == body) return;
    double dx = node->x - body->x, dy = node->y - body->y, square = dx * dx + dy * dy + 1e-4;
    if (node->body || half * half < square * 1.5) {
        double force = 1e-6 * node->mass / square;
        body->vx += dx * force;
        body->vy += dy * force;
        return;
    }
    for (int at = 0; at < 4; at++) pull(node->children[at], body, half / 2);
}

static void take_down(struct node *node) {
    if (!node) return;
    for (int at = 0; at < 4; at++) take_down(node->children[at]);
    free(node);
}

static void run(int threads) {
    (void)threads;
    uint64_t random = seed(0);
    struct body **bodies = got(malloc(BODIES * sizeof *bodies));
    for (int at = 0; at < BODIES; at++) {
        bodies[at] = got(calloc(1, sizeof **bodies));
        bodies[at]->x = (double)(next_random(&random) % 100000) / 50000 - 1;
        bodies[at]->y = (double)(next_random(&random) % 100000) / 50000 - 1;
        bodies[at]->mass = 1;
    }
    for (int step = 0; step < STEPS; step++) {
        struct node *root = NULL;
        for (int at = 0; at < BODIES; at++) root = insert(root, bodies[at], 0, 0, 2, 0);
        for (int at = 0; at < BODIES; at++) pull(root, bodies[at], 2);
        for (int at = 0; at < BODIES; at++) {
            bodies[at]->x += bodies[at]->vx;
            bodies[at]->y += bodies[at]->vy;
        }
        take_down(root);
    }
    for (int at = 0; at < BODIES; at++) free(bodies[at]);
    free(bodies);
}
