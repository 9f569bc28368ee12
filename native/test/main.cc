// Runs every test case, or those whose name contains the first argument; with a second one, `i/n`, every n-th of them beginning
// with the i-th; with a third one, `best`, of those for every kernel table the best table's alone, but for those of what each
// does by instructions of its own. The last line is `N passed, N failed`.
#include <chrono>
#include <cstdarg>
#include <cstdio>
#include <exception>
#include <functional>
#include <string>
#include <vector>

#include "check.h"

namespace lmhead::test {

namespace {

struct Case {
  std::string name;
  bool of_best_table;  // or of none
  std::function<void()> run;
};

std::vector<Case>& cases() {
  static std::vector<Case> all;
  return all;
}

constexpr int kShownFailures = 5;  // per case; one broken kernel fails thousands of checks
int failures_of_case = 0;

// Names are identifiers that read as sentences.
std::string sentence(const char* name) {
  std::string text = name;
  for (char& c : text)
    if (c == '_') c = ' ';
  return text;
}

}  // namespace

bool add_case(const char* name, void (*run)()) {
  cases().push_back({sentence(name), true, run});
  return true;
}

bool add_case_per_table(const char* name, void (*run)(const Kernels&), bool of_all) {
  for (const auto* tables : {&available_kernels(), &test_kernels()})
    for (const Kernels* table : *tables) {
      const bool of_best_table = table == available_kernels().front() || (of_all && table != scalar_kernels());
      cases().push_back({sentence(name) + " [" + table->name + "]", of_best_table, [=] { run(*table); }});
    }
  return true;
}

void fail(const char* file, int line, const char* condition) { fail(file, line, condition, "%s", ""); }

void fail(const char* file, int line, const char* condition, const char* format, ...) {
  if (++failures_of_case > kShownFailures) return;
  std::printf("  %s:%d: %s  ", file, line, condition);
  std::va_list arguments;
  va_start(arguments, format);
  std::vprintf(format, arguments);
  va_end(arguments);
  std::printf("\n");
}

static int run_cases(const char* filter, unsigned shard, unsigned shards, bool every_table) {
  int passed = 0, failed = 0;
  unsigned selected = 0;
  for (const Case& test : cases()) {
    if (test.name.find(filter) == std::string::npos || !(every_table || test.of_best_table)) continue;
    if (selected++ % shards != shard) continue;
    failures_of_case = 0;
    const auto start = std::chrono::steady_clock::now();
    try {
      test.run();
    } catch (const std::exception& error) {
      fail(test.name.c_str(), 0, "threw", "%s", error.what());
    } catch (...) {
      fail(test.name.c_str(), 0, "threw", "%s", "something that is no std::exception");
    }
    const double ms = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
    if (failures_of_case == 0)
      passed++;
    else
      failed++;
    std::printf("%s %s (%.0f ms)", failures_of_case == 0 ? "ok    " : "FAILED", test.name.c_str(), ms);
    if (failures_of_case > 0) std::printf(": %d checks", failures_of_case);
    std::printf("\n");
    std::fflush(stdout);  // a crash in the next case must not swallow this line
  }
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed == 0 && (passed > 0 || selected > 0) ? 0 : 1;
}

}  // namespace lmhead::test

int main(int count, char** arguments) {
  unsigned shard = 0, shards = 1;
  if (count > 2 && (std::sscanf(arguments[2], "%u/%u", &shard, &shards) != 2 || shard >= shards)) {
    std::fprintf(stderr, "shard: got '%s'; want i/n with i below n\n", arguments[2]);
    return 2;
  }
  const std::string tables = count > 3 ? arguments[3] : "all";
  if (tables != "all" && tables != "best") {
    std::fprintf(stderr, "tables: got '%s'; want all or best\n", tables.c_str());
    return 2;
  }
  return lmhead::test::run_cases(count > 1 ? arguments[1] : "", shard, shards, tables == "all");
}
