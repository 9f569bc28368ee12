#include "map_guard.h"

#if !defined(_WIN32)
#include <signal.h>
#include <sys/mman.h>

#include <cerrno>
#endif

#include <mutex>

namespace lmhead {

std::atomic<size_t> MapGuard::in_use{0};

namespace {
std::mutex mutex;  // of who sets a handler, or a guard's range
}

#if defined(_WIN32)

// Windows refuses to shrink a file that is mapped.
struct MapGuardHandler {
  static std::atomic<MapGuard*> guards;
  static bool is_set() { return true; }
  static void set() {}
};

#else

// Everything that the handler touches; all of it in place before the handler is.
struct MapGuardHandler {
  // A handler that was there when ours was set, and the one that was there before it. None is ever freed, as signals may be at
  // it; but there are only as many as there are different ones.
  struct Other {
    struct sigaction action;
    const Other* older;
    const Other* next;  // of all
  };
  // Who is given a signal may give it to whom it found: to us, once more. Then it is the older one's turn.
  struct Passing {
    std::atomic<const void*> context{nullptr};  // the signal's
    std::atomic<uintptr_t> frame{0};            // the stack's, where it was passed on first
    std::atomic<int> times{0};
  };

  static std::atomic<MapGuard*> guards;
  static std::atomic<const Other*> others;  // the newest
  static const Other* all;
  static Passing passing[64];  // signals at a time

  static bool is_ours(const struct sigaction& action) {
    return (action.sa_flags & SA_SIGINFO) && action.sa_sigaction == on_bus_error;
  }
  static bool is_set() {
    struct sigaction now;
    return ::sigaction(SIGBUS, nullptr, &now) == 0 && is_ours(now);
  }

  // Under the lock.
  static void set() {
    struct sigaction ours = {}, other;
    if (::sigaction(SIGBUS, nullptr, &other) != 0 || is_ours(other)) return;
    others.store(known(other));
    ours.sa_sigaction = on_bus_error;
    ours.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART;
    ::sigemptyset(&ours.sa_mask);
    ::sigaction(SIGBUS, &ours, nullptr);
  }

  static const Other* known(const struct sigaction& action) {
    const auto same = [&](const struct sigaction& its) {
      if ((its.sa_flags & SA_SIGINFO) != (action.sa_flags & SA_SIGINFO)) return false;
      return action.sa_flags & SA_SIGINFO ? its.sa_sigaction == action.sa_sigaction : its.sa_handler == action.sa_handler;
    };
    for (const Other* each = all; each; each = each->next)
      if (same(each->action)) return each;
    return all = new Other{action, others.load(), all};
  }

  // By kill, and not by a read. Then the signal's address is none.
  static bool is_sent(const siginfo_t& info) {
#if defined(__APPLE__)
    return info.si_code == SI_USER || info.si_code == SI_QUEUE;
#else
    return info.si_code <= 0;
#endif
  }

  static void on_bus_error(int signal, siginfo_t* info, void* context) {
    const int saved_errno = errno;
    if (is_sent(*info) || !replace_map(reinterpret_cast<uintptr_t>(info->si_addr))) pass_on(signal, info, context);
    errno = saved_errno;  // and the read is tried again
  }

  // All of it at once: what follows a page without a file has none either, and whatever is read of such a map is refused. So a
  // pass takes one signal and not one for every page, in the course of which somebody could take the handler away.
  static bool replace_map(uintptr_t at) {
    for (MapGuard* guard = guards.load(); guard; guard = guard->next_) {
      uintptr_t begin, end;
      if (!guard->covers(at, begin, end)) continue;
      guard->lost_.store(true);  // before anybody can read a zero
      void* const map = reinterpret_cast<void*>(begin);
      return ::mmap(map, end - begin, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED;
    }
    return false;
  }

  static void pass_on(int signal, siginfo_t* info, void* context) {
    // A handler that does not come back leaves its entry; what comes after it is not deeper in the stack.
    const uintptr_t frame = reinterpret_cast<uintptr_t>(__builtin_frame_address(0));
    Passing* entry = nullptr;
    for (Passing& each : passing)
      if (each.context.load() == context) entry = &each;
    if (entry && frame >= entry->frame.load()) entry->times.store(0);
    for (Passing& each : passing) {
      const void* nobody = nullptr;
      if (entry || !each.context.compare_exchange_strong(nobody, context)) continue;
      entry = &each;
      entry->times.store(0);
    }
    const int times = entry ? entry->times.fetch_add(1) : 0;
    if (times == 0 && entry) entry->frame.store(frame);
    const Other* other = others.load();
    for (int i = 0; i < times && other; i++) other = other->older;
    call(other, signal, info, context);
    if (entry && entry->times.fetch_sub(1) == 1) entry->context.store(nullptr);
  }

  static void call(const Other* other, int signal, siginfo_t* info, void* context) {
    if (other && (other->action.sa_flags & SA_SIGINFO)) return other->action.sa_sigaction(signal, info, context);
    if (other && other->action.sa_handler != SIG_DFL && other->action.sa_handler != SIG_IGN)
      return other->action.sa_handler(signal);
    if (is_sent(*info)) return;  // a guarded process outlives it
    struct sigaction nobody = {};
    nobody.sa_handler = SIG_DFL;
    ::sigaction(SIGBUS, &nobody, nullptr);  // the read is tried again, and this time it ends the process
  }
};

std::atomic<const MapGuardHandler::Other*> MapGuardHandler::others{nullptr};
const MapGuardHandler::Other* MapGuardHandler::all = nullptr;
MapGuardHandler::Passing MapGuardHandler::passing[64];

#endif

std::atomic<MapGuard*> MapGuardHandler::guards{nullptr};

void MapGuard::install() {
  if (MapGuardHandler::is_set()) return;
  const std::lock_guard lock(mutex);
  MapGuardHandler::set();
}

void MapGuard::set_range(uintptr_t begin, uintptr_t end) {
  version_++;
  begin_ = begin;
  end_ = end;
  version_++;
}

bool MapGuard::covers(uintptr_t at, uintptr_t& begin, uintptr_t& end) const {
  const uint64_t version = version_;
  begin = begin_, end = end_;
  return version % 2 == 0 && version_ == version && at >= begin && at < end;
}

MapGuard* MapGuard::watch(const void* base, size_t length) {
  const std::lock_guard lock(mutex);
  MapGuardHandler::set();
  std::atomic<MapGuard*>& guards = MapGuardHandler::guards;
  MapGuard* guard = guards;
  while (guard && guard->begin_ != guard->end_) guard = guard->next_;
  if (!guard) {
    guard = new MapGuard;
    guard->next_ = guards;
    guards = guard;
  }
  guard->lost_ = false;
  guard->set_range(reinterpret_cast<uintptr_t>(base), reinterpret_cast<uintptr_t>(base) + length);
  in_use++;
  return guard;
}

void MapGuard::unwatch() {
  const std::lock_guard lock(mutex);
  in_use--;
  set_range(0, 0);
}

}  // namespace lmhead
