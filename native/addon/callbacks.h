// The ways by which Node.js enters the addon. A C++ exception that leaves one ends the process, so none does: what calls back is
// made here and nowhere else, and catches everything. test/sources.test.ts looks for others.
#pragma once

#include <exception>
#include <memory>

#include "arguments.h"
#include "environment.h"

namespace lmhead {

// The exception that is being handled, as a JavaScript one, which is pending then; or as a value. The value is null where
// there can be none, as the environment is going.
void raise(napi_env env, const Binding* binding) noexcept;
napi_value caught(napi_env env, const Binding& binding) noexcept;

namespace callbacks {

template <napi_value (*function)(Call&)>
napi_value called(napi_env env, napi_callback_info info) noexcept {
  void* binding = nullptr;
  napi_get_cb_info(env, info, nullptr, nullptr, nullptr, &binding);
  try {
    Call call(env, info);
    return function(call);
  } catch (...) {
    raise(env, static_cast<Binding*>(binding));
    return nullptr;
  }
}

template <class T>
void finalized(napi_env env, void* data, void*) noexcept {
  try {
    const std::unique_ptr<T> last(static_cast<T*>(data));
    last->finalize(env);
  } catch (...) {
  }
}

template <void (*function)(napi_env, void* context, void* data)>
void completed(napi_env env, napi_value, void* context, void* data) noexcept {
  try {
    function(env, context, data);
  } catch (...) {
  }
  // One that were pending would be nobody's, and end the process.
  napi_value exception;
  bool pending = false;
  if (env && napi_is_exception_pending(env, &pending) == napi_ok && pending) napi_get_and_clear_last_exception(env, &exception);
}

template <void (*function)(void*)>
void torn_down(void* data) noexcept {
  try {
    function(data);
  } catch (...) {
  }
}

}  // namespace callbacks

// A function for JavaScript. It throws LMHeadErrors of this binding.
template <napi_value (*function)(Call&)>
napi_value make_function(napi_env env, const char* name, Binding& binding) {
  napi_value result;
  node(napi_create_function, env, name, NAPI_AUTO_LENGTH, callbacks::called<function>, static_cast<void*>(&binding), &result);
  return result;
}

struct Method {
  const char* name;
  napi_callback call;
};
template <napi_value (*function)(Call&)>
constexpr Method method(const char* name) {
  return {name, callbacks::called<function>};
}

// A class whose constructor is `construct`.
template <napi_value (*construct)(Call&)>
napi_value make_class(napi_env env, const char* name, Binding& binding, std::initializer_list<Method> methods) {
  std::vector<napi_property_descriptor> all;
  for (const Method& each : methods)
    all.push_back({each.name, nullptr, each.call, nullptr, nullptr, nullptr, napi_default_method, &binding});
  napi_value result;
  node(napi_define_class, env, name, NAPI_AUTO_LENGTH, callbacks::called<construct>, static_cast<void*>(&binding), all.size(),
       all.data(), &result);
  return result;
}

// Gives an object what it stands for: T::finalize(env) is called, and it is deleted, when the object goes.
template <class T>
void give(napi_env env, napi_value object, std::unique_ptr<T> native) {
  node(napi_wrap, env, object, static_cast<void*>(native.get()), callbacks::finalized<T>, nullptr, nullptr);
  native.release();
}

template <class T>
void give_environment(napi_env env, std::unique_ptr<T> data) {
  node(napi_set_instance_data, env, static_cast<void*>(data.get()), callbacks::finalized<T>, nullptr);
  data.release();
}

// A function that other threads have called on this environment's. It does not keep the process.
template <void (*function)(napi_env, void* context, void* data)>
napi_threadsafe_function make_completion(napi_env env, const char* name, void* context) {
  napi_threadsafe_function result;
  node(napi_create_threadsafe_function, env, nullptr, nullptr, string(env, name), size_t{0}, size_t{1}, nullptr, nullptr, context,
       callbacks::completed<function>, &result);
  try {
    node(napi_unref_threadsafe_function, env, result);
  } catch (...) {
    napi_release_threadsafe_function(result, napi_tsfn_abort);  // or the environment would live on for it
    throw;
  }
  return result;
}

// Called when the environment goes; the last one first.
template <void (*function)(void*)>
void at_tear_down(napi_env env, void* data) {
  node(napi_add_env_cleanup_hook, env, callbacks::torn_down<function>, data);
}

}  // namespace lmhead
