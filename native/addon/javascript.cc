#include "javascript.h"

#include <limits>

namespace lmhead {

void fail(napi_env env, napi_status status) {
  bool pending = false;
  if (status == napi_pending_exception || status == napi_cannot_run_js || status == napi_closing ||
      (napi_is_exception_pending(env, &pending) == napi_ok && pending))
    throw Pending{};
  // Node-API says "generic failure" of what V8 cannot make.
  throw Failure{status == napi_generic_failure ? "MEMORY" : "ARGUMENT",
                "Node-API: got status " + std::to_string(status) + "; want 0"};
}

namespace {

// node-addon-api's functions don't go through node(): tests have them fail here.
void may_fail(napi_env env) {
  if (faults::node_api_fails()) fail(env, napi_generic_failure);
}

// A property of the object's own.
Napi::PropertyDescriptor descriptor(const char* name, napi_value value) {
  return Napi::PropertyDescriptor::Value(name, value, napi_default_jsproperty);
}

}  // namespace

napi_valuetype type_of(napi_env env, napi_value value) {
  may_fail(env);
  return Napi::Value(env, value).Type();
}

bool is_object(napi_env env, napi_value value) {
  const napi_valuetype type = type_of(env, value);
  return type == napi_object || type == napi_function;
}

bool is_truthy(napi_env env, napi_value value) {
  may_fail(env);
  return Napi::Value(env, value).ToBoolean();
}

double number_of(napi_env env, napi_value value) {
  double number;
  const bool is_one = node_takes(napi_number_expected, napi_get_value_double, env, value, &number);
  return is_one ? number : std::numeric_limits<double>::quiet_NaN();
}

std::string text_of(napi_env env, napi_value value) {
  may_fail(env);
  return Napi::String(env, value).Utf8Value();
}

napi_value undefined(napi_env env) {
  may_fail(env);
  return Napi::Env(env).Undefined();
}

napi_value number(napi_env env, double value) {
  may_fail(env);
  return Napi::Number::New(env, value);
}

napi_value string(napi_env env, const std::string& text) {
  may_fail(env);
  return Napi::String::New(env, text);
}

void define(napi_env env, napi_value object, std::initializer_list<Named> properties) {
  may_fail(env);
  std::vector<Napi::PropertyDescriptor> all;
  for (const Named& each : properties) all.push_back(descriptor(each.name, each.value));
  Napi::Object(env, object).DefineProperties(all);
}

napi_value object(napi_env env, std::initializer_list<Named> properties) {
  may_fail(env);
  const napi_value result = Napi::Object::New(env);
  define(env, result, properties);
  return result;
}

napi_value array(napi_env env, const std::vector<napi_value>& elements) {
  may_fail(env);
  const Napi::Array result = Napi::Array::New(env, elements.size());
  std::vector<std::string> names;
  for (size_t i = 0; i < elements.size(); i++) names.push_back(std::to_string(i));
  std::vector<Napi::PropertyDescriptor> all;
  for (size_t i = 0; i < elements.size(); i++) all.push_back(descriptor(names[i].c_str(), elements[i]));
  result.DefineProperties(all);
  return result;
}

}  // namespace lmhead
