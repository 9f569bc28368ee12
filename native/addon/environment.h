// What the addon keeps for each JavaScript environment: the main thread's, and one for every worker that loads it.
#pragma once

#include <napi.h>

#include <memory>

#include "jobs.h"

namespace lmhead {

struct Environment {
  explicit Environment(Napi::Env env);
  static Environment& of(Napi::Env env) { return *env.GetInstanceData<Environment>(); }

  Napi::FunctionReference head_constructor;
  std::shared_ptr<Channel> channel;
};

// The kernel table in use, chosen once for the process by `select` (lib/backend/addon.ts calls it first).
const Kernels& kernels();

}  // namespace lmhead
