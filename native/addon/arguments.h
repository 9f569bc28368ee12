// Arguments from JavaScript. lib/ has checked them for the message; here they are checked for safety.
//
// Properties may be getters, and these may do anything: close the head, detach an array. So a call first reads all properties, by
// Call, and then takes its arrays, by Arrays; from there on no JavaScript runs, and what was found stays as it is.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <new>
#include <vector>

#include "../core/head/pass_view.h"
#include "environment.h"
#include "javascript.h"

namespace lmhead {

Failure bad_argument(const char* name, const std::string& wanted);

// Runs what may run out of memory, and says what for.
template <class Body>
void needs_memory_for(const char* what, Body body) {
  try {
    body();
  } catch (const std::bad_alloc&) {
    throw Failure{"MEMORY", std::string("not enough memory for ") + what};
  }
}

// One call from JavaScript.
class Call {
 public:
  Call(napi_env env, napi_callback_info info);
  napi_env env() const { return env_; }
  napi_value self() const { return self_; }
  bool is_construction() const;
  const Binding& binding() const { return *binding_; }
  Environment& environment() const { return binding_->environment; }

  // An argument; null where it is undefined. Those that are left out cost nothing.
  napi_value given(size_t i) const { return i < count_ ? or_null(arguments_[i]) : nullptr; }
  // One that has to be there, of a type that is found out when it is taken; null where it is left out.
  napi_value required(size_t i) const { return i < count_ ? arguments_[i] : nullptr; }
  // The elements of an array, as `given` has arguments; null beyond its end. May run JavaScript, as a property does.
  template <size_t count>
  std::array<napi_value, count> elements(napi_value array) const {
    std::array<napi_value, count> all;
    for (size_t i = 0; i < count; i++) all[i] = element(array, i);
    return all;
  }
  napi_value element(napi_value array, size_t i) const;
  // A property of an object; null where it is undefined. May run JavaScript, so it throws where there are Arrays of this call.
  napi_value property(napi_value object, const char* name) const;
  // The same, of an object that may be missing.
  napi_value property_if(napi_value object, const char* name) const { return object ? property(object, name) : nullptr; }

 private:
  friend class Arrays;
  napi_value or_null(napi_value value) const;

  static constexpr size_t kMost = 24;
  const napi_env env_;
  const napi_callback_info info_;
  size_t count_ = kMost;
  napi_value self_, arguments_[kMost];
  Binding* binding_;
  bool sealed_ = false;
};

// An integer in [low, high].
size_t integer_between(napi_env env, napi_value value, size_t low, size_t high, const char* name);
Dtype dtype_from(napi_env env, napi_value value);
// What lib/backend/native.ts numbers the jobs by that it may abort; 0: not given.
double ticket_from(napi_env env, napi_value value);
// One that hidden states may have.
Dtype hidden_dtype_from(napi_env env, napi_value value);

// The typed arrays of a call, whose null ones are not there. First those that results go to, then those that are read.
class Arrays {
 public:
  enum class Use { in_call, after_call };
  Arrays(Call& call, Use use);

  // How many elements an array of that type has.
  template <class T>
  size_t length(napi_value array, const char* name) const {
    return find(array, kType<T>, name).count;
  }

  // Where results go: at least so many elements.
  template <class T>
  T* output(napi_value array, size_t count, const char* name) {
    return static_cast<T*>(output_bytes(array, kType<T>, count, sizeof(T), name));
  }

  // What is read: at least so many elements. Where somebody could change them meanwhile - another thread, the results, or
  // JavaScript once the call has returned - it is a copy; so what has been checked stays so.
  template <class T>
  const T* input(napi_value array, size_t count, const char* name) {
    return static_cast<const T*>(input_bytes(array, kType<T>, count, sizeof(T), name));
  }

  // The same without a copy.
  struct Bytes {
    const uint8_t* data;
    bool is_shared;  // with other threads
    bool stays;      // nobody can change them while they are used
  };
  template <class T>
  Bytes look_at(napi_value array, size_t count, const char* name) {
    return look(array, kType<T>, count, sizeof(T), name);
  }

  // The arrays that results go to after the call, and the copies of what is read: they have to live as long as these are used.
  const std::vector<napi_value>& outputs() const { return outputs_; }
  using Copies = std::vector<std::unique_ptr<std::byte[]>>;
  Copies take_copies() { return std::move(copies_); }

  napi_env env() const { return env_; }

 private:
  struct Found {
    uint8_t* data;
    size_t count;
    napi_value buffer;
  };
  struct Range {
    const uint8_t *begin, *end;
    bool meets(const Range& other) const { return begin < other.end && other.begin < end; }
  };
  template <class T>
  static constexpr napi_typedarray_type kType = napi_float32_array;

  Found find(napi_value array, napi_typedarray_type type, const char* name) const;
  Found find(napi_value array, napi_typedarray_type type, size_t count, const char* name) const;
  void* output_bytes(napi_value array, napi_typedarray_type type, size_t count, size_t size, const char* name);
  const void* input_bytes(napi_value array, napi_typedarray_type type, size_t count, size_t size, const char* name);
  Bytes look(napi_value array, napi_typedarray_type type, size_t count, size_t size, const char* name);

  const napi_env env_;
  const Use use_;
  bool reading_ = false;
  std::vector<napi_value> outputs_;
  // Where results go: those of most calls without an allocation.
  static constexpr size_t kFew = 8;
  Range few_written_[kFew];
  size_t written_ = 0;
  std::vector<Range> more_written_;
  Copies copies_;
};
template <>
inline constexpr napi_typedarray_type Arrays::kType<double> = napi_float64_array;
template <>
inline constexpr napi_typedarray_type Arrays::kType<uint8_t> = napi_uint8_array;
template <>
inline constexpr napi_typedarray_type Arrays::kType<uint16_t> = napi_uint16_array;
template <>
inline constexpr napi_typedarray_type Arrays::kType<uint32_t> = napi_uint32_array;
template <>
inline constexpr napi_typedarray_type Arrays::kType<int32_t> = napi_int32_array;

// Of n hidden states of d elements.
Arrays::Bytes hidden_bytes(Arrays& arrays, napi_value hidden, Dtype dtype, size_t n, size_t d);

}  // namespace lmhead
