#include "callbacks.h"

#include <cstdio>
#include <new>

#include "../core/storage/storage.h"

namespace lmhead {

namespace {

// Node-API at its barest: this runs where other things have failed.
napi_value error_of(napi_env env, const Binding& binding, const char* kind, const char* message) noexcept {
  napi_value made_by, parts[2], error;
  const bool made = napi_get_reference_value(env, binding.error_class, &made_by) == napi_ok &&
                    napi_create_string_utf8(env, kind, NAPI_AUTO_LENGTH, &parts[0]) == napi_ok &&
                    napi_create_string_utf8(env, message, NAPI_AUTO_LENGTH, &parts[1]) == napi_ok &&
                    napi_new_instance(env, made_by, 2, parts, &error) == napi_ok;
  return made ? error : nullptr;
}

// Calls use(kind, message) with what is being handled, or nothing where that is a JavaScript exception.
template <class Use>
void each_caught(Use use) noexcept {
  constexpr const char* kNoMemory = "not enough memory for the call";
  try {
    throw;
  } catch (const Pending&) {
  } catch (const Napi::Error& error) {  // of what node-addon-api makes of values
    try {
      error.ThrowAsJavaScriptException();
    } catch (...) {
    }
  } catch (const Failure& failure) {
    use(failure.kind, failure.message.c_str());
  } catch (const FileError& error) {
    use("IO", error.message.c_str());
  } catch (const std::bad_alloc&) {
    use("MEMORY", kNoMemory);
  } catch (const std::exception& error) {  // too long a vector, no thread
    use("MEMORY", error.what());
  } catch (...) {
    use("MEMORY", kNoMemory);
  }
}

}  // namespace

void raise(napi_env env, const Binding* binding) noexcept {
  each_caught([&](const char* kind, const char* message) {
    const napi_value error = binding ? error_of(env, *binding, kind, message) : nullptr;
    if (error && napi_throw(env, error) == napi_ok) return;
    char code[32];
    std::snprintf(code, sizeof code, "ERR_LMHEAD_%s", kind);
    bool pending = false;
    if (napi_is_exception_pending(env, &pending) == napi_ok && !pending) napi_throw_error(env, code, message);
  });
}

napi_value caught(napi_env env, const Binding& binding) noexcept {
  napi_value error = nullptr;
  each_caught([&](const char* kind, const char* message) { error = error_of(env, binding, kind, message); });
  bool pending = false;
  if (!error && napi_is_exception_pending(env, &pending) == napi_ok && pending) napi_get_and_clear_last_exception(env, &error);
  return error;
}

}  // namespace lmhead
