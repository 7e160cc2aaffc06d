// The standard containers, alone and between threads.
#include "check.h"
#include <deque>
#include <future>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

static std::string word(uint64_t number) { return "word number " + std::to_string(number) + " of many, longer than the small string"; }

static void work(uint64_t seed, int rounds) {
    std::map<uint64_t, std::string> sorted;
    std::unordered_map<std::string, std::vector<int>> hashed;
    std::list<std::unique_ptr<std::string>> listed;
    std::deque<std::string> queue;
    uint64_t random = seed;
    for (int round = 0; round < rounds; round++) {
        uint64_t number = next_random(&random) % 1000;
        auto found = sorted.find(number);
        if (found == sorted.end()) sorted.emplace(number, word(number));
        else {
            CHECK(found->second == word(number));
            sorted.erase(found);
        }
        hashed[word(number % 100)].push_back(round);
        if (hashed.size() > 90) hashed.clear();
        listed.push_back(std::make_unique<std::string>(word(number)));
        if (listed.size() > 200) listed.pop_front();
        queue.push_back(word(number));
        if (queue.size() > 500) queue.erase(queue.begin(), queue.begin() + 300);
    }
    for (auto &pair : sorted) CHECK(pair.second == word(pair.first));
}

RULE(containers_on_one_thread) { work(1, 20000); }

RULE(containers_on_many_threads) {
    std::vector<std::thread> threads;
    for (int at = 0; at < 8; at++) threads.emplace_back(work, at + 10, 8000);
    for (auto &thread : threads) thread.join();
}

RULE(containers_are_handed_between_threads) {
    typedef std::vector<std::string> Words;
    std::mutex lock;
    std::deque<Words> box;
    std::vector<std::thread> threads;
    for (int id = 0; id < 6; id++)
        threads.emplace_back([&, id] {
            for (int round = 0; round < 400; round++) {
                Words mine;
                for (int at = 0; at < 20; at++) mine.push_back(word(at + id));
                Words theirs;
                {
                    std::lock_guard<std::mutex> guard(lock);
                    box.push_back(std::move(mine));
                    if (box.size() > 20) {
                        theirs = std::move(box.front());
                        box.pop_front();
                    }
                }
                for (size_t at = 1; at < theirs.size(); at++) CHECK(theirs[at] != theirs[at - 1]);
            }
        });
    for (auto &thread : threads) thread.join();
}

struct Keeper {
    std::vector<std::string> words;
    ~Keeper() {
        for (size_t at = 0; at < words.size(); at++) CHECK(words[at] == word(at));
        words.clear();
        std::string last = word(99);
        CHECK(!last.empty());
    }
};

RULE(thread_locals_with_destructors_allocate_and_free) {
    for (int round = 0; round < 200; round++) {
        std::thread([] {
            static thread_local Keeper keeper;
            for (uint64_t at = 0; at < 50; at++) keeper.words.push_back(word(at));
        }).join();
    }
}

RULE(futures_and_streams) {
    std::vector<std::future<std::string>> futures;
    for (int at = 0; at < 50; at++)
        futures.push_back(std::async(std::launch::async, [at] {
            std::ostringstream text;
            for (int n = 0; n < 1000; n++) text << at << ' ' << n << '\n';
            return text.str();
        }));
    for (int at = 0; at < 50; at++) CHECK(futures[at].get().find(std::to_string(at) + " 999") != std::string::npos);
}

RULE(exceptions_from_many_threads) {
    std::vector<std::thread> threads;
    for (int id = 0; id < 6; id++)
        threads.emplace_back([] {
            int caught = 0;
            for (int round = 0; round < 2000; round++) {
                try {
                    throw std::runtime_error(word(round));
                } catch (const std::exception &error) { caught += error.what() == word(round); }
            }
            CHECK(caught == 2000);
        });
    for (auto &thread : threads) thread.join();
}

static Keeper at_exit;
RULE(static_objects_free_after_main) {
    for (uint64_t at = 0; at < 100; at++) at_exit.words.push_back(word(at));
}
