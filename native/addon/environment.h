// What the addon keeps for each JavaScript environment: the main thread's, and one for every worker that loads it.
#pragma once

#include <node_api.h>

#include <memory>
#include <vector>

namespace lmhead {

class Channel;
struct Environment;
struct Kernels;

// What one copy of lib/ has of the addon; functions made for it have it as their data.
struct Binding {
  Environment& environment;
  napi_ref error_class;  // its LMHeadError
};

struct Environment {
  // Throws Pending, Failure, std::bad_alloc.
  explicit Environment(napi_env env);
  static Environment& of(napi_env env);
  void finalize(napi_env) {}

  std::shared_ptr<Channel> channel;
  // Constructors, as they were when the addon was loaded.
  napi_ref uint32_array, float32_array;
  std::vector<std::unique_ptr<Binding>> bindings;
};

// The kernel table in use, chosen once for the process by `select` (lib/backend/addon.ts calls it first).
const Kernels& kernels();

}  // namespace lmhead
