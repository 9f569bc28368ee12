#include "keep_loaded.h"

#if defined(_WIN32)
#include <windows.h>
#elif defined(__APPLE__)
#include <dlfcn.h>
#endif

namespace lmhead {

void keep_loaded() {
#if defined(_WIN32)
  HMODULE module;
  ::GetModuleHandleExW(GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS | GET_MODULE_HANDLE_EX_FLAG_PIN,
                       reinterpret_cast<const wchar_t*>(&keep_loaded), &module);
#elif defined(__APPLE__)
  Dl_info info;
  if (::dladdr(reinterpret_cast<const void*>(&keep_loaded), &info)) ::dlopen(info.dli_fname, RTLD_NOW | RTLD_NODELETE);
#endif
}

}  // namespace lmhead
