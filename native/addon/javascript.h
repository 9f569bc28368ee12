// Node-API, with C++ exceptions for what fails. No function here but those of `Properties` (arguments.h) runs a caller's code.
// Values are node-addon-api's; what can fail in a worker that ends, or for want of memory, is called by `node`, since Napi::Error
// itself is made by calls that end the process when they fail.
#pragma once

#include <napi.h>

#include <initializer_list>
#include <string>
#include <vector>

#include "faults.h"

namespace lmhead {

// Becomes an LMHeadError; `kind` is an ErrorKind of lib/errors.ts.
struct Failure {
  const char* kind;
  std::string message;
};

// A JavaScript exception is pending, such as a getter threw, and goes on unchanged; or the environment runs no more JavaScript.
// There is nothing left to do but to return.
struct Pending {};

// Throws what a status other than napi_ok stands for.
[[noreturn]] void fail(napi_env env, napi_status status);

// Calls a function of Node-API.
template <class Function, class... Arguments>
void node(Function* function, napi_env env, Arguments... arguments) {
  const napi_status status = faults::node_api_fails() ? napi_generic_failure : function(env, arguments...);
  if (status != napi_ok) fail(env, status);
}

// Calls one that says by `refusal` that a value is not of the kind it takes; whether it is. So no other call has to ask before.
template <class Function, class... Arguments>
bool node_takes(napi_status refusal, Function* function, napi_env env, Arguments... arguments) {
  const napi_status status = faults::node_api_fails() ? napi_generic_failure : function(env, arguments...);
  if (status == refusal) return false;
  if (status != napi_ok) fail(env, status);
  return true;
}

napi_valuetype type_of(napi_env env, napi_value value);
bool is_object(napi_env env, napi_value value);
bool is_truthy(napi_env env, napi_value value);
// NaN for what is no number.
double number_of(napi_env env, napi_value value);
// Of a string.
std::string text_of(napi_env env, napi_value value);

napi_value undefined(napi_env env);
napi_value number(napi_env env, double value);
napi_value string(napi_env env, const std::string& text);
// Properties of its own, whatever setters its prototype has.
struct Named {
  const char* name;
  napi_value value;
};
void define(napi_env env, napi_value object, std::initializer_list<Named> properties);
napi_value object(napi_env env, std::initializer_list<Named> properties);
napi_value array(napi_env env, const std::vector<napi_value>& elements);

}  // namespace lmhead
