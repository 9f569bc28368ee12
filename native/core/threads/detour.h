// Sends a thread to another CPU than one, once, wherever it runs afterwards.
//
// Linux wakes a thread where it ran last, or where it is woken from, if it finds no idle CPU nearby; and which of them is idle it
// may not see on virtual machines. A helper that wakes on its caller's CPU waits until the caller has done all the work itself.
#pragma once

#if defined(__linux__)
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace lmhead {

#if defined(__linux__)

inline int current_cpu() { return sched_getcpu(); }  // or -1

class Detour {
 public:
  // The thread that it is for; called by it.
  void begin() { thread_ = static_cast<pid_t>(syscall(SYS_gettid)); }
  // That thread leaves this CPU (-1: not known), at once or as it wakes, unless it may run on no other.
  void avoid(int cpu) {
    if (cpu < 0 || is_set_ || sched_getaffinity(thread_, sizeof usual_, &usual_) != 0 || !CPU_ISSET(cpu, &usual_)) return;
    narrow_ = usual_;
    CPU_CLR(cpu, &narrow_);
    is_set_ = CPU_COUNT(&narrow_) > 0 && sched_setaffinity(thread_, sizeof narrow_, &narrow_) == 0;
  }
  // It has left, or is awake: it may run where it might before, unless somebody else has said otherwise meanwhile.
  void end() {
    if (!is_set_) return;
    is_set_ = false;
    cpu_set_t now;
    if (sched_getaffinity(thread_, sizeof now, &now) == 0 && CPU_EQUAL(&now, &narrow_))
      sched_setaffinity(thread_, sizeof usual_, &usual_);
  }

 private:
  pid_t thread_ = 0;
  bool is_set_ = false;
  cpu_set_t usual_, narrow_;
};

#else

inline int current_cpu() { return -1; }
struct Detour {
  void begin() {}
  void avoid(int) {}
  void end() {}
};

#endif

}  // namespace lmhead
