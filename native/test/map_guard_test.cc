// Maps of files that shrink or are written to, and the signal that tells of it.
#include "../core/storage/map_guard.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstring>
#include <memory>
#include <thread>

#include "../core/storage/storage.h"
#include "check.h"
#include "folder.h"

namespace lmhead::test {
namespace {

// Without its guard, reading such a map ends the process.
TEST(a_map_of_a_file_that_shrinks_reads_as_zeros_and_says_so) {
  Folder folder;
  const std::vector<uint8_t> bytes = random_bytes(40000, 43);
  const std::string path = folder.file("weights", bytes);
  const std::unique_ptr<Storage> storage = map_file(path, 13, bytes.size() - 13), other = map_file(path, 0, 4096);
  CHECK(storage->intact());
  CHECK(::truncate(path.c_str(), 8192) == 0);
  CHECK(std::memcmp(storage->data(), &bytes[13], 8192 - 13) == 0);
  CHECK(!storage->intact() && !other->intact(), "by its size");
  // From the first read that fails on, all of it is zeros.
  for (const size_t at : {size_t{20000}, size_t{0}, size_t{8192}, bytes.size() - 14}) CHECK(storage->data()[at] == 0, "%zu", at);
  CHECK(std::memcmp(other->data(), bytes.data(), 4096) == 0, "of another map none");
  // Grown again, it is no better: its pages are gone.
  CHECK(::truncate(path.c_str(), static_cast<off_t>(bytes.size())) == 0);
  CHECK(!storage->intact());
}

TEST(a_map_of_a_file_that_is_written_to_says_so) {
  Folder folder;
  const std::vector<uint8_t> bytes = random_bytes(5000, 44);
  const std::string path = folder.file("weights", bytes);
  // As if it had been made a while ago: file systems tell times in steps.
  const struct timespec long_ago[2] = {{1000000000, 0}, {1000000000, 0}};
  CHECK(::utimensat(AT_FDCWD, path.c_str(), long_ago, 0) == 0);
  const std::unique_ptr<Storage> storage = map_file(path, 0, 5000);
  CHECK(storage->intact());
  std::FILE* const f = std::fopen(path.c_str(), "r+b");
  std::fputc(bytes[0] ^ 1, f);
  std::fclose(f);
  CHECK(!storage->intact());
}

// Puts back the time of change, as whoever hides a change would.
void write_in_secret(const std::string& path) {
  struct stat before;
  CHECK(::stat(path.c_str(), &before) == 0);
#if defined(__APPLE__)
  const struct timespec times[2] = {before.st_atimespec, before.st_mtimespec};
#else
  const struct timespec times[2] = {before.st_atim, before.st_mtim};
#endif
  ::usleep(20000);  // longer than a file system's step of time
  const int fd = ::open(path.c_str(), O_WRONLY);
  const uint8_t byte = 77;
  CHECK(::pwrite(fd, &byte, 1, 4321) == 1 && ::futimens(fd, times) == 0);
  ::close(fd);
}

#if defined(__linux__)
TEST(a_map_of_a_file_that_is_written_to_in_secret_says_so) {
  Folder folder;
  const std::string path = folder.file("weights", random_bytes(5000, 44));
  const std::unique_ptr<Storage> storage = map_file(path, 0, 5000);
  write_in_secret(path);
  CHECK(!storage->intact());
}
#endif

// All of this changes a file's status and no byte of it; what is written afterward is noticed still.
TEST(a_map_is_intact_whatever_its_file_is_called_and_whoever_may_open_it) {
  Folder folder;
  const std::string path = folder.file("weights", random_bytes(5000, 44)), other = folder.name("renamed"),
                    link = folder.name("linked");
  const std::unique_ptr<Storage> storage = map_file(path, 0, 5000);
  const auto changed = [&](const char* what, int failed) {
    CHECK(failed == 0 && storage->intact() && storage->intact(), "%s", what);
    ::usleep(20000);
  };
  changed("mode", ::chmod(path.c_str(), 0440));
  changed("mode again", ::chmod(path.c_str(), 0640));
  changed("linked", ::link(path.c_str(), link.c_str()));
  changed("unlinked", ::unlink(link.c_str()));
  changed("renamed", ::rename(path.c_str(), other.c_str()));
  changed("renamed back", ::rename(other.c_str(), path.c_str()));
  changed("renamed again", ::rename(path.c_str(), other.c_str()));
  const int fd = ::open(other.c_str(), O_RDONLY);
  changed("owner", ::fchown(fd, ::getuid() == 0 ? 1 : ::getuid(), static_cast<gid_t>(-1)));
  ::close(fd);
#if defined(__linux__)
  const std::unique_ptr<Storage> second = map_file(other, 0, 5000);
  write_in_secret(other);
  CHECK(!storage->intact() && !second->intact());
#endif
}

TEST(guards_are_used_again_and_tell_their_maps_apart) {
  Folder folder;
  const std::vector<uint8_t> bytes = random_bytes(3 * 4096, 45);
  const std::string stays = folder.file("stays", bytes), shrinks = folder.file("shrinks", bytes);
  for (int turn = 0; turn < 100; turn++) {
    folder.file("shrinks", bytes);
    const std::unique_ptr<Storage> a = map_file(stays, 0, bytes.size()), b = map_file(shrinks, 0, bytes.size()),
                                   c = map_file(stays, 0, bytes.size());
    CHECK(::truncate(shrinks.c_str(), 0) == 0);
    CHECK(b->data()[5000] == 0 && !b->intact());
    CHECK(a->intact() && c->intact() && std::memcmp(a->data(), bytes.data(), bytes.size()) == 0);
  }
}

TEST(bus_errors_elsewhere_still_end_the_process) {
  Folder folder;
  const std::string path = folder.file("weights", random_bytes(8192, 46));
  const std::unique_ptr<Storage> guarded = map_file(path, 0, 8192);
  const int fd = ::open(path.c_str(), O_RDONLY);
  void* const bare = ::mmap(nullptr, 8192, PROT_READ, MAP_PRIVATE, fd, 0);
  CHECK(bare != MAP_FAILED && ::truncate(path.c_str(), 0) == 0);
  const pid_t child = ::fork();
  if (child == 0) {
    std::freopen("/dev/null", "w", stderr);  // a sanitizer's report
    ::_exit(static_cast<volatile uint8_t*>(bare)[5000]);
  }
  int status = 0;
  CHECK(::waitpid(child, &status, 0) == child && !(WIFEXITED(status) && WEXITSTATUS(status) == 0));
  ::munmap(bare, 8192);
  ::close(fd);
}

// ---- the signal's other users ----------------------------------------------------------------------------------------------

// A file that is mapped, and whose end is gone.
struct Shrunken {
  Folder folder;
  std::string path = folder.file("weights", random_bytes(10 * 4096, 49));
  std::unique_ptr<Storage> storage = map_file(path, 0, 10 * 4096);
  Shrunken() { CHECK(::truncate(path.c_str(), 100) == 0); }
  bool reads_as_zero(size_t at) const { return storage->data()[at] == 0; }
};

volatile sig_atomic_t signals_seen = 0, ends_process = 0;
void count_signal(int) {
  signals_seen = signals_seen + 1;
  if (ends_process) ::_exit(1);
}

// Another's handler, in the place of whatever was there; put back at the end.
class Handler {
 public:
  explicit Handler(void (*handler)(int)) {
    struct sigaction action = {};
    action.sa_handler = handler;
    ::sigaction(SIGBUS, &action, &before_);
  }
  ~Handler() { ::sigaction(SIGBUS, &before_, nullptr); }

 private:
  struct sigaction before_;
};

TEST(a_guard_that_others_have_taken_the_signal_from_is_back_before_the_next_read) {
  signals_seen = 0;
  for (const auto other :
       {count_signal, static_cast<void (*)(int)>(SIG_DFL), static_cast<void (*)(int)>(SIG_IGN), count_signal}) {
    const Shrunken shrunken;
    const Handler handler(other);
    MapGuard::renew();
    CHECK(shrunken.reads_as_zero(4096) && !shrunken.storage->intact());
    const int seen = signals_seen;
    ::kill(::getpid(), SIGBUS);  // is theirs, where they listen; and where not, it ends nothing
    CHECK(signals_seen == seen + (other == count_signal));
  }
}

TEST(a_guard_that_others_have_taken_the_signal_from_is_back_with_the_next_map) {
  Folder folder;
  const std::string path = folder.file("weights", random_bytes(3 * 4096, 49));
  const std::unique_ptr<Storage> first = map_file(path, 0, 3 * 4096);
  const Handler handler(SIG_DFL);
  const std::unique_ptr<Storage> second = map_file(path, 0, 3 * 4096);
  CHECK(::truncate(path.c_str(), 0) == 0);
  CHECK(first->data()[5000] == 0 && second->data()[9000] == 0 && !first->intact());
}

TEST(a_signal_that_is_sent_is_about_no_map) {
  Folder folder;
  const std::vector<uint8_t> bytes = random_bytes(4096, 50);
  const std::string path = folder.file("weights", bytes);
  const std::unique_ptr<Storage> storage = map_file(path, 0, bytes.size());
  const Handler handler(count_signal);
  MapGuard::renew();
  signals_seen = 0;
  for (int i = 0; i < 3; i++) ::kill(::getpid(), SIGBUS);
  ::raise(SIGBUS);
  union sigval address;
  address.sival_ptr = const_cast<uint8_t*>(storage->data());
#if !defined(__APPLE__)
  ::sigqueue(::getpid(), SIGBUS, address);
  CHECK(signals_seen == 5, "%d", static_cast<int>(signals_seen));
#endif
  CHECK(storage->intact() && std::memcmp(storage->data(), bytes.data(), bytes.size()) == 0);
}

// A crash reporter's: it calls the one that it found, which is ours, which calls it, as it was there when ours came back.
struct sigaction found_by_reporter;
volatile sig_atomic_t reports = 0;
void report(int signal, siginfo_t* info, void* context) {
  reports = reports + 1;
  if (found_by_reporter.sa_flags & SA_SIGINFO) found_by_reporter.sa_sigaction(signal, info, context);
}

TEST(handlers_that_call_each_other_come_to_an_end) {
  const Shrunken shrunken, second;
  struct sigaction reporter = {}, before;
  reporter.sa_sigaction = report;
  reporter.sa_flags = SA_SIGINFO;
  ::sigaction(SIGBUS, &reporter, &before);
  found_by_reporter = before;
  MapGuard::renew();
  reports = 0;
  CHECK(shrunken.reads_as_zero(5000) && reports == 0);
  for (int turn = 1; turn <= 200; turn++) {
    ::kill(::getpid(), SIGBUS);
    CHECK(reports == turn, "%d: %d", turn, static_cast<int>(reports));
  }
  CHECK(second.reads_as_zero(9000));
  // A read elsewhere still ends the process.
  const int fd = ::open(shrunken.path.c_str(), O_RDONLY);
  void* const bare = ::mmap(nullptr, 8192, PROT_READ, MAP_PRIVATE, fd, 0);
  const pid_t child = ::fork();
  if (child == 0) {
    ::alarm(30);
    ends_process = 1;  // where an earlier test's handler has been found, and is asked too
    if (!std::freopen("/dev/null", "w", stderr)) ::_exit(0);
    ::_exit(static_cast<volatile uint8_t*>(bare)[5000]);
  }
  int status = 0;
  CHECK(::waitpid(child, &status, 0) == child && !(WIFEXITED(status) && WEXITSTATUS(status) == 0) &&
            !(WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM),
        "%d", status);
  ::munmap(bare, 8192);
  ::close(fd);
  ::sigaction(SIGBUS, &before, nullptr);
}

TEST(guards_that_come_and_go_on_other_threads_replace_no_page_of_theirs) {
  std::vector<std::thread> threads;
  std::atomic<int> wrong{0};
  for (int t = 0; t < 3; t++)
    threads.emplace_back([&, t] {
      Folder folder;
      const std::vector<uint8_t> bytes = random_bytes(4 * 4096, 51 + static_cast<uint64_t>(t));
      const std::unique_ptr<Storage> kept = map_file(folder.file("kept", bytes), 0, bytes.size());
      for (int turn = 0; turn < 200; turn++) {
        const std::string path = folder.file("weights", bytes);
        const std::unique_ptr<Storage> storage = map_file(path, 0, bytes.size());
        wrong += std::memcmp(storage->data(), bytes.data(), bytes.size()) != 0;
        wrong += ::truncate(path.c_str(), 4096) != 0;
        for (const size_t at : {5000, 9000, 13000}) wrong += storage->data()[at] != 0;
        wrong += storage->intact() || !kept->intact() || std::memcmp(kept->data(), bytes.data(), bytes.size()) != 0;
      }
    });
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong == 0, "%d", wrong.load());
}

}  // namespace
}  // namespace lmhead::test
