"""Containers, text, JSON, regular expressions, syntax trees, threads. An argument is the number of rounds; one takes a second or so."""

import ast
import collections
import hashlib
import json
import random
import re
import sys
import threading
import zlib


def containers(chance):
    index = collections.defaultdict(list)
    for number in range(150_000):
        key = "key%d" % chance.randrange(20_000)
        if chance.random() < 0.3:
            index.pop(key, None)
        else:
            index[key].append((number, "x" * chance.randrange(100), {number}))
    rows = sorted((key, len(values)) for key, values in index.items())
    grid = [[chance.random() for _ in range(50)] for _ in range(2_000)]
    turned = [list(row) for row in zip(*grid)]
    return repr(rows[:1000]), "%.6f" % sum(map(sum, turned))


def documents(chance):
    document = {"items": [{"id": i, "tags": ["t%d" % chance.randrange(99) for _ in range(8)], "score": i / 7} for i in range(8_000)]}
    text = json.dumps(document)
    for _ in range(3):
        text = json.dumps(json.loads(text), sort_keys=True)
    return text, zlib.crc32(zlib.compress(text.encode(), 6))


def expressions(chance):
    text = " ".join("%s=%d;" % (chance.choice(["alpha", "beta", "gamma"]), chance.randrange(10**6)) for _ in range(30_000))
    pairs = re.findall(r"(\w+)=(\d+);", text)
    turned = re.sub(r"(\w+)=(\d)(\d*);", lambda found: found[3] + found[2] + ":" + found[1], text)
    return repr(pairs[:500]), turned


def trees():
    with open(ast.__file__, encoding="utf-8") as file:
        source = file.read()
    tree = ast.parse(source)
    code = compile(ast.unparse(tree), "again", "exec")
    return ast.dump(tree), len(code.co_consts)


def threads(chance):
    results = {}
    numbers = [chance.randrange(1000) for _ in range(4_000)]

    def work(thread):
        text = "".join("%d:%s," % (number, "y" * (number % 50)) for number in numbers)
        results[thread] = hashlib.sha256((text * (thread + 1)).encode()).hexdigest()

    for _ in range(5):
        group = [threading.Thread(target=work, args=(thread,)) for thread in range(6)]
        for thread in group:
            thread.start()
        for thread in group:
            thread.join()
    return sorted(results.items())


def main():
    chance = random.Random(1)
    for number in range(int(sys.argv[1]) if len(sys.argv) > 1 else 2):
        results = containers(chance), documents(chance), expressions(chance), trees(), threads(chance)
        print(number, *(hashlib.sha256(repr(result).encode()).hexdigest()[:16] for result in results))


main()
