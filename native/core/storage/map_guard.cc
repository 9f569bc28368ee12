#include "map_guard.h"

#if !defined(_WIN32)
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>
#endif

#include <cerrno>
#include <mutex>

namespace lmhead {

#if defined(_WIN32)

// Windows refuses to shrink a file that is mapped.
struct MapGuardHandler {
  static std::atomic<MapGuard*> guards;
  static void install() {}
};

#else

// Everything that the handler touches; all of it in place before the first guard is.
struct MapGuardHandler {
  static std::atomic<MapGuard*> guards;
  static uintptr_t page_size;
  static struct sigaction before;

  static void install() {
    page_size = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
    struct sigaction action = {};
    action.sa_sigaction = on_bus_error;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    ::sigemptyset(&action.sa_mask);
    ::sigaction(SIGBUS, &action, &before);
  }

  static void on_bus_error(int signal, siginfo_t* info, void* context) {
    const int saved_errno = errno;
    const uintptr_t at = reinterpret_cast<uintptr_t>(info->si_addr);
    for (MapGuard* guard = guards.load(std::memory_order_acquire); guard; guard = guard->next_) {
      const uintptr_t begin = guard->begin_.load(std::memory_order_acquire);
      if (begin == 0 || at < begin || at >= guard->end_.load(std::memory_order_relaxed)) continue;
      void* const page = reinterpret_cast<void*>(at / page_size * page_size);
      if (::mmap(page, page_size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED) break;
      guard->lost_.store(true, std::memory_order_release);
      errno = saved_errno;
      return;  // and the read is tried again
    }
    errno = saved_errno;
    pass_on(signal, info, context);
  }

  static void pass_on(int signal, siginfo_t* info, void* context) {
    if (before.sa_flags & SA_SIGINFO) return before.sa_sigaction(signal, info, context);
    if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN) return before.sa_handler(signal);
    ::sigaction(SIGBUS, &before, nullptr);  // the read is tried again, and this time it ends the process
  }
};

uintptr_t MapGuardHandler::page_size = 0;
struct sigaction MapGuardHandler::before = {};

#endif

std::atomic<MapGuard*> MapGuardHandler::guards{nullptr};

MapGuard* MapGuard::watch(const void* base, size_t length) {
  static std::mutex mutex;
  const std::lock_guard lock(mutex);
  std::atomic<MapGuard*>& guards = MapGuardHandler::guards;
  MapGuard* guard = guards.load(std::memory_order_relaxed);
  if (!guard) MapGuardHandler::install();
  while (guard && guard->begin_.load(std::memory_order_acquire) != 0) guard = guard->next_;
  if (!guard) {
    guard = new MapGuard;
    guard->next_ = guards.load(std::memory_order_relaxed);
    guards.store(guard, std::memory_order_release);
  }
  guard->lost_.store(false, std::memory_order_relaxed);
  guard->end_.store(reinterpret_cast<uintptr_t>(base) + length, std::memory_order_relaxed);
  guard->begin_.store(reinterpret_cast<uintptr_t>(base), std::memory_order_release);
  return guard;
}

}  // namespace lmhead
