// Lets a binary that was linked against a newer glibc run on 2.28, the oldest that Node.js itself runs on.
//
// The linker gives every symbol the newest version it finds. Functions that got a new version since 2.28 are defined here, for
// this binary and the libstdc++ inside it, and go to the version that has been there from the start.
// test/package/symbol-versions.test.ts names what is missing, should there be more.
#if defined(LMHEAD_PORTABLE) && defined(__linux__)
#include <features.h>
#endif

#if defined(LMHEAD_PORTABLE) && defined(__GLIBC__)
#include <pthread.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>

#if defined(__x86_64__)
#define LMHEAD_FIRST_GLIBC "GLIBC_2.2.5"
#elif defined(__aarch64__)
#define LMHEAD_FIRST_GLIBC "GLIBC_2.17"
#else
#error "the version that glibc's first symbols have on this CPU"
#endif
#define LMHEAD_FIRST_VERSION(ours, name) __asm__(".symver " #ours "," #name "@" LMHEAD_FIRST_GLIBC)

extern "C" {

// 2.34, which moved libpthread into libc.
int first_pthread_create(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*);
LMHEAD_FIRST_VERSION(first_pthread_create, pthread_create);
int pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*start)(void*), void* argument) noexcept {
  return first_pthread_create(thread, attributes, start, argument);
}

int first_pthread_detach(pthread_t);
LMHEAD_FIRST_VERSION(first_pthread_detach, pthread_detach);
int pthread_detach(pthread_t thread) noexcept { return first_pthread_detach(thread); }

// 2.33; before, an inline function over __fxstat. On these CPUs glibc's struct stat is the kernel's.
int fstat(int file, struct stat* status) noexcept { return static_cast<int>(::syscall(SYS_fstat, file, status)); }

// 2.36: what std::random_device asks. The call fails on no kernel that Node.js runs on, and gives so few bytes at once.
uint32_t arc4random() noexcept {
  uint32_t word = 0;
  while (::syscall(SYS_getrandom, &word, sizeof word, 0) != sizeof word) {
  }
  return word;
}

// 2.32: whether libstdc++ may count references without atomic operations. It may not.
char __libc_single_threaded = 0;

}  // extern "C"
#endif
