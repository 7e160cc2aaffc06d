/* Factors numbers by Pollard's rho with bignums whose every result is a new block of just as many digits as it needs. */
#include "pattern.h"

struct number {
    int len;
    uint32_t digits[];
};

static struct number *make(int len) {
    struct number *number = got(malloc(sizeof *number + (size_t)len * sizeof *number->digits));
    number->len = len;
    return number;
}

static struct number *trimmed(struct number *number) {
    while (number->len > 1 && !number->digits[number->len - 1]) number->len--;
    return number;
}

static struct number *from(uint64_t value) {
    struct number *number = make(2);
    number->digits[0] = (uint32_t)value;
    number->digits[1] = (uint32_t)(value >> 32);
    return trimmed(number);
}

static int compare(const struct number *a, const struct number *b) {
    if (a->len != b->len) return a->len - b->len;
    for (int at = a->len; at-- > 0;)
        if (a->digits[at] != b->digits[at]) return a->digits[at] < b->digits[at] ? -1 : 1;
    return 0;
}

static int is_zero(const struct number *a) { return a->len == 1 && !a->digits[0]; }

static struct number *copy(const struct number *a) {
    struct number *result = make(a->len);
    memcpy(result->digits, a->digits, (size_t)a->len * sizeof *a->digits);
    return result;
}

static struct number *add(const struct number *a, uint32_t small) {
    struct number *sum = make(a->len + 1);
    uint64_t carry = small;
    for (int at = 0; at < a->len; at++) {
        carry += a->digits[at];
        sum->digits[at] = (uint32_t)carry;
        carry >>= 32;
    }
    sum->digits[a->len] = (uint32_t)carry;
    return trimmed(sum);
}

static struct number *subtract(const struct number *a, const struct number *b) {
    struct number *difference = make(a->len);
    int64_t borrow = 0;
    for (int at = 0; at < a->len; at++) {
        borrow += (int64_t)a->digits[at] - (at < b->len ? b->digits[at] : 0);
        difference->digits[at] = (uint32_t)borrow;
        borrow >>= 32;
    }
    return trimmed(difference);
}

static struct number *multiply(const struct number *a, const struct number *b) {
    struct number *product = make(a->len + b->len);
    memset(product->digits, 0, (size_t)product->len * sizeof *product->digits);
    for (int i = 0; i < a->len; i++) {
        uint64_t carry = 0;
        for (int j = 0; j < b->len; j++) {
            carry += (uint64_t)a->digits[i] * b->digits[j] + product->digits[i + j];
            product->digits[i + j] = (uint32_t)carry;
            carry >>= 32;
        }
        product->digits[i + b->len] = (uint32_t)carry;
    }
    return trimmed(product);
}

/* By shifting and subtracting digit by digit; the moduli have up to three digits, so a wide integer does a step. */
static struct number *modulo(const struct number *a, const struct number *m) {
    unsigned __int128 modulus = 0, rest = 0;
    for (int at = m->len; at-- > 0;) modulus = modulus << 32 | m->digits[at];
    for (int at = a->len; at-- > 0;) rest = (rest << 32 | a->digits[at]) % modulus;
    struct number *result = make(m->len);
    for (int at = 0; at < m->len; at++, rest >>= 32) result->digits[at] = (uint32_t)rest;
    return trimmed(result);
}

static struct number *gcd(const struct number *a, const struct number *b) {
    struct number *x = copy(a), *y = copy(b);
    while (!is_zero(y)) {
        struct number *rest = modulo(x, y);
        free(x);
        x = y;
        y = rest;
    }
    free(y);
    return x;
}

static struct number *step(struct number *x, const struct number *n) {
    struct number *square = multiply(x, x), *more = add(square, 1), *result = modulo(more, n);
    free(x);
    free(square);
    free(more);
    return result;
}

static uint64_t factor(uint64_t p, uint64_t q) {
    struct number *a = from(p), *b = from(q), *n = multiply(a, b), *slow = from(2), *fast = from(2), *divisor = from(1), *one = from(1);
    while (!compare(divisor, one)) {
        slow = step(slow, n);
        fast = step(step(fast, n), n);
        struct number *difference = compare(slow, fast) < 0 ? subtract(fast, slow) : subtract(slow, fast);
        free(divisor);
        divisor = gcd(difference, n);
        free(difference);
    }
    uint64_t found = divisor->digits[0] | (divisor->len > 1 ? (uint64_t)divisor->digits[1] << 32 : 0);
    must(found == p || found == q || found == p * q, "not a factor");
    struct number *all[] = {a, b, n, slow, fast, divisor, one};
    for (size_t at = 0; at < sizeof all / sizeof *all; at++) free(all[at]);
    return found;
}

static void run(int threads) {
    (void)threads;
    static const uint64_t primes[][2] = {{1000003, 2147483647}, {15485863, 32452843}, {49979687, 67867967}, {104395301, 122949823},
                                         {179424673, 198491317}, {1299709, 4294967291u}, {86028121, 2038074743}};
    for (int round = 0; round < 25; round++)
        for (size_t at = 0; at < sizeof primes / sizeof *primes; at++) factor(primes[at][0], primes[at][1]);
}
