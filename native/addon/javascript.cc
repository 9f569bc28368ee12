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

napi_valuetype type_of(napi_env env, napi_value value) {
  napi_valuetype type;
  node(napi_typeof, env, value, &type);
  return type;
}

bool is_object(napi_env env, napi_value value) {
  const napi_valuetype type = type_of(env, value);
  return type == napi_object || type == napi_function;
}

bool is_truthy(napi_env env, napi_value value) {
  napi_value as_boolean;
  bool result;
  node(napi_coerce_to_bool, env, value, &as_boolean);
  node(napi_get_value_bool, env, as_boolean, &result);
  return result;
}

double number_of(napi_env env, napi_value value) {
  double result;
  if (type_of(env, value) != napi_number) return std::numeric_limits<double>::quiet_NaN();
  node(napi_get_value_double, env, value, &result);
  return result;
}

std::string text_of(napi_env env, napi_value value) {
  size_t length;
  node(napi_get_value_string_utf8, env, value, static_cast<char*>(nullptr), size_t{0}, &length);
  std::string text(length, '\0');
  node(napi_get_value_string_utf8, env, value, text.data(), length + 1, &length);
  return text;
}

napi_value undefined(napi_env env) {
  napi_value value;
  node(napi_get_undefined, env, &value);
  return value;
}

napi_value number(napi_env env, double value) {
  napi_value result;
  node(napi_create_double, env, value, &result);
  return result;
}

napi_value string(napi_env env, const std::string& text) {
  napi_value result;
  node(napi_create_string_utf8, env, text.data(), text.size(), &result);
  return result;
}

namespace {

void define_all(napi_env env, napi_value object, const std::vector<napi_property_descriptor>& all) {
  node(napi_define_properties, env, object, all.size(), all.data());
}

napi_property_descriptor descriptor(const char* name, napi_value value) {
  return {name, nullptr, nullptr, nullptr, nullptr, value, napi_default_jsproperty, nullptr};
}

}  // namespace

void define(napi_env env, napi_value object, std::initializer_list<Named> properties) {
  std::vector<napi_property_descriptor> all;
  for (const Named& each : properties) all.push_back(descriptor(each.name, each.value));
  define_all(env, object, all);
}

napi_value object(napi_env env, std::initializer_list<Named> properties) {
  napi_value result;
  node(napi_create_object, env, &result);
  define(env, result, properties);
  return result;
}

napi_value array(napi_env env, const std::vector<napi_value>& elements) {
  napi_value result;
  node(napi_create_array_with_length, env, elements.size(), &result);
  std::vector<std::string> names;
  for (size_t i = 0; i < elements.size(); i++) names.push_back(std::to_string(i));
  std::vector<napi_property_descriptor> all;
  for (size_t i = 0; i < elements.size(); i++) all.push_back(descriptor(names[i].c_str(), elements[i]));
  define_all(env, result, all);
  return result;
}

}  // namespace lmhead
