#include "arguments.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <stdexcept>

namespace lmhead {

Failure bad_argument(const char* name, const std::string& wanted) {
  return {"ARGUMENT", std::string(name) + ": got something else; want " + wanted};
}

// ---- calls ------------------------------------------------------------------------------------------------------------------

Call::Call(napi_env env, napi_callback_info info) : env_(env), info_(info) {
  void* binding;
  node(napi_get_cb_info, env, info, &count_, arguments_, &self_, &binding);
  binding_ = static_cast<Binding*>(binding);
}

bool Call::is_construction() const {
  napi_value target;
  node(napi_get_new_target, env_, info_, &target);
  return target != nullptr;
}

napi_value Call::or_null(napi_value value) const { return type_of(env_, value) == napi_undefined ? nullptr : value; }

napi_value Call::element(napi_value array, size_t i) const {
  if (sealed_) throw std::logic_error("an element is read after the arrays");
  napi_value value;
  node(napi_get_element, env_, array, static_cast<uint32_t>(i), &value);
  return or_null(value);
}

napi_value Call::property(napi_value object, const char* name) const {
  if (sealed_) throw std::logic_error("a property is read after the arrays");
  napi_value value;
  node(napi_get_named_property, env_, object, name, &value);
  return or_null(value);
}

size_t integer_between(napi_env env, napi_value value, size_t low, size_t high, const char* name) {
  const double number = value ? number_of(env, value) : -1;
  if (!(number >= static_cast<double>(low) && number <= static_cast<double>(high)) || std::floor(number) != number)
    throw bad_argument(name, "an integer from " + std::to_string(low) + " to " + std::to_string(high));
  return static_cast<size_t>(number);
}

double ticket_from(napi_env env, napi_value value) {
  constexpr size_t kMost = size_t{1} << 53;
  return value ? static_cast<double>(integer_between(env, value, 1, kMost, "ticket")) : 0;
}

Dtype dtype_from(napi_env env, napi_value value) {
  return static_cast<Dtype>(integer_between(env, value, 0, kDtypes - 1, "dtype"));
}

Dtype hidden_dtype_from(napi_env env, napi_value value) {
  return static_cast<Dtype>(integer_between(env, value, 0, kFloatDtypes - 1, "hiddenDtype"));
}

// ---- arrays -----------------------------------------------------------------------------------------------------------------

namespace {

const char* name_of(napi_typedarray_type type) {
  switch (type) {
    case napi_float32_array:
      return "a Float32Array";
    case napi_float64_array:
      return "a Float64Array";
    case napi_uint8_array:
      return "a Uint8Array";
    case napi_uint16_array:
      return "a Uint16Array";
    case napi_int32_array:
      return "an Int32Array";
    default:
      return "a Uint32Array";
  }
}

}  // namespace

Arrays::Arrays(Call& call, Use use) : env_(call.env()), use_(use) { call.sealed_ = true; }

Arrays::Found Arrays::find(napi_value array, napi_typedarray_type type, const char* name) const {
  auto actual = static_cast<napi_typedarray_type>(-1);  // stays, where Node-API has no name for the type
  Found found;
  void* data;
  const bool is_one = array && node_takes(napi_invalid_arg, napi_get_typedarray_info, env_, array, &actual, &found.count, &data,
                                          &found.buffer, nullptr);
  if (!is_one || actual != type) throw bad_argument(name, name_of(type));
  found.data = static_cast<uint8_t*>(data);
  return found;
}

Arrays::Found Arrays::find(napi_value array, napi_typedarray_type type, size_t count, const char* name) const {
  const Found found = find(array, type, name);
  if (found.count < count || (!found.data && count > 0))
    throw Failure{"SHAPE", std::string(name) + ": got " + std::to_string(found.count) + " elements; want at least " +
                               std::to_string(count) + " that stay while the arguments are read"};
  return found;
}

void* Arrays::output_bytes(napi_value array, napi_typedarray_type type, size_t count, size_t size, const char* name) {
  if (reading_) throw std::logic_error("an array for results is taken after one that is read");
  if (!array) return nullptr;
  uint8_t* const data = find(array, type, count, name).data;
  const Range range{data, data + count * size};
  if (written_ < kFew)
    few_written_[written_++] = range;
  else
    more_written_.push_back(range);
  if (use_ == Use::after_call) outputs_.push_back(array);
  return data;
}

Arrays::Bytes Arrays::look(napi_value array, napi_typedarray_type type, size_t count, size_t size, const char* name) {
  reading_ = true;
  const Found found = find(array, type, count, name);
  bool is_array_buffer;
  node(napi_is_arraybuffer, env_, found.buffer, &is_array_buffer);  // "no" for a SharedArrayBuffer
  const Range read{found.data, found.data + count * size};
  const auto meets = [&](const Range& range) { return range.meets(read); };
  const bool written =
      std::any_of(few_written_, few_written_ + written_, meets) || std::any_of(more_written_.begin(), more_written_.end(), meets);
  return {found.data, !is_array_buffer, use_ == Use::in_call && is_array_buffer && !written};
}

const void* Arrays::input_bytes(napi_value array, napi_typedarray_type type, size_t count, size_t size, const char* name) {
  if (!array) return nullptr;
  const Bytes bytes = look(array, type, count, size, name);
  if (bytes.stays) return bytes.data;
  copies_.push_back(std::make_unique_for_overwrite<std::byte[]>(count * size));
  if (count > 0) std::memcpy(copies_.back().get(), bytes.data, count * size);
  return copies_.back().get();
}

Arrays::Bytes hidden_bytes(Arrays& arrays, napi_value hidden, Dtype dtype, size_t n, size_t d) {
  if (n > (std::numeric_limits<size_t>::max() >> 3) / d) throw bad_argument("n", "fewer hidden states");
  return dtype == Dtype::f32 ? arrays.look_at<float>(hidden, n * d, "hidden") : arrays.look_at<uint16_t>(hidden, n * d, "hidden");
}

}  // namespace lmhead
