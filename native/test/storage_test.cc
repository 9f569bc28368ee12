// The bytes behind a matrix: mapped, read, owned, transposed; and files that are not what they should be.
#include "../core/storage/storage.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <memory>

#include "check.h"
#include "folder.h"
#include "guard.h"
#include "numbers.h"

namespace lmhead::test {
namespace {

using Open = std::unique_ptr<Storage> (*)(const std::string&, uint64_t, uint64_t);
constexpr Open kBothWays[] = {map_file, read_file};

TEST(files_are_served_from_any_offset) {
  Folder folder;
  const std::vector<uint8_t> bytes = random_bytes(20000, 41);
  const std::string path = folder.file("weights", bytes);
  for (const Open open : kBothWays)
    for (const size_t offset : {0, 1, 7, 4095, 4096, 4097, 19999, 20000})
      for (const size_t size : {size_t{0}, size_t{1}, size_t{100}, bytes.size() - offset}) {
        if (size > bytes.size() - offset) continue;
        const std::unique_ptr<Storage> storage = open(path, offset, size);
        CHECK(storage->size() == size, "offset=%zu", offset);
        CHECK(size == 0 || std::memcmp(storage->data(), &bytes[offset], size) == 0, "offset=%zu size=%zu", offset, size);
        CHECK(storage->owned_bytes() == (open == read_file ? size : 0), "offset=%zu size=%zu", offset, size);
      }
}

TEST(a_map_outlives_the_name_of_its_file) {
  Folder folder;
  const std::vector<uint8_t> bytes = random_bytes(5000, 42);
  const std::string path = folder.file("weights", bytes);
  const std::unique_ptr<Storage> storage = map_file(path, 13, 4000);
  ::unlink(path.c_str());
  CHECK(std::memcmp(storage->data(), &bytes[13], 4000) == 0);
}

bool refuses(Open open, const std::string& path, uint64_t offset, uint64_t size) {
  try {
    open(path, offset, size);
    return false;
  } catch (const FileError& error) {
    return error.message.find(path) != std::string::npos;  // it must say which file
  }
}

TEST(files_that_are_not_as_said_are_refused) {
  Folder folder;
  const std::string path = folder.file("short", random_bytes(100, 43)), empty = folder.file("empty", {});
  constexpr uint64_t most = ~uint64_t{0};
  for (const Open open : kBothWays) {
    CHECK(refuses(open, path, 0, 101));
    CHECK(refuses(open, path, 100, 1));
    CHECK(refuses(open, path, 101, 0));
    CHECK(refuses(open, path, 1, most), "offset + size wraps around to 0");
    CHECK(refuses(open, path, most, 1));
    CHECK(refuses(open, path, 0, most));
    CHECK(refuses(open, empty, 0, 1));
    CHECK(!refuses(open, empty, 0, 0));
    CHECK(refuses(open, folder.path() + "/missing", 0, 1));
    CHECK(refuses(open, folder.path(), 0, 0), "a directory");
    CHECK(refuses(open, path + "/below-a-file", 0, 1));
    CHECK(refuses(open, "", 0, 0));
  }
}

// What a header said is not believed: any offset and any size, each time checked against the file as it is then.
TEST(no_offset_and_no_size_is_believed) {
  Folder folder;
  const std::vector<uint8_t> bytes = random_bytes(3 * 4096 + 5, 47);
  const std::string path = folder.file("weights", bytes);
  Random random(48);
  size_t length = bytes.size(), served = 0;
  const auto near = [&](uint64_t about) { return about + random.bits() % 9 - 4; };  // it may wrap around
  const auto number = [&]() -> uint64_t {
    switch (random.bits() % 6) {
      case 0:
        return random.bits() % (length + 2);
      case 1:
        return near(length);
      case 2:
        return near(uint64_t{4096} * (random.bits() % 4));
      case 3:
        return near(uint64_t{1} << random.bits() % 64);
      case 4:
        return near(0);
      default:
        return (uint64_t{random.bits()} << 32) | random.bits();
    }
  };
  for (int turn = 0; turn < 8000; turn++) {
    if (turn % 500 == 499) {  // between two turns, when nothing is mapped
      length = random.bits() % (bytes.size() + 1);
      folder.file("weights", {bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(length)});
    }
    const uint64_t offset = number(), size = random.bits() % 4 == 0 ? length - offset : number();
    const bool inside = offset <= length && size <= length - offset;
    for (const Open open : kBothWays) {
      bool same = false, refused = false;
      try {
        const std::unique_ptr<Storage> storage = open(path, offset, size);
        same = storage->size() == size && (size == 0 || std::memcmp(storage->data(), &bytes[offset], size) == 0);
      } catch (const FileError&) {
        refused = true;
      }
      CHECK(inside ? same : refused, "offset=%llu size=%llu length=%zu", static_cast<unsigned long long>(offset),
            static_cast<unsigned long long>(size), length);
    }
    served += inside;
  }
  CHECK(served > 400 && served < 7600, "%zu", served);
}

// Opening a pipe for reading waits for a writer, who may never come; a device can have no size.
TEST(pipes_and_devices_are_refused_without_waiting) {
  Folder folder;
  const std::string pipe = folder.name("pipe");
  CHECK(::mkfifo(pipe.c_str(), 0600) == 0);
  for (const Open open : kBothWays) {
    CHECK(refuses(open, pipe, 0, 1));
    CHECK(refuses(open, "/dev/zero", 0, 1));
  }
}

TEST(owned_storage_is_zeroed_writable_and_its_own) {
  for (const size_t size : {size_t{0}, size_t{1}, size_t{4097}, size_t{3} << 20}) {
    OwnedStorage storage(size);
    CHECK(storage.size() == size && storage.owned_bytes() == size && storage.data() == storage.mutable_data());
    CHECK(reinterpret_cast<uintptr_t>(storage.data()) % 4096 == 0);
    bool zeroed = true;
    for (size_t i = 0; i < size; i++) zeroed &= storage.data()[i] == 0;
    CHECK(zeroed);
    if (size > 0) storage.mutable_data()[size - 1] = 1;
  }
}

TEST(owned_storage_that_cannot_be_had_throws) {
  for (const size_t size : {~size_t{0}, ~size_t{0} - (size_t{1} << 20), size_t{1} << 62}) {
    bool threw = false;
    try {
      OwnedStorage storage(size);
    } catch (const std::bad_alloc&) {
      threw = true;
    }
    CHECK(threw, "%zu", size);
  }
}

TEST(borrowed_storage_owns_nothing) {
  const uint8_t bytes[3] = {1, 2, 3};
  const BorrowedStorage storage(bytes, 3);
  CHECK(storage.data() == bytes && storage.size() == 3 && storage.owned_bytes() == 0);
}

TEST(transposing_moves_every_element_and_reads_no_other) {
  for (const Dtype dtype : kFloats)
    for (const size_t rows : {1, 2, 31, 32, 33, 65, 100})
      for (const size_t columns : {1, 3, 32, 33, 70}) {
        const size_t size = bytes_per_element(dtype);
        const std::vector<uint8_t> source = random_bytes(rows * columns * size, rows * 1000 + columns);
        const auto check = [&](const uint8_t* from) {
          const std::unique_ptr<OwnedStorage> to = transpose(from, dtype, rows, columns);
          bool right = to->size() == source.size();
          for (size_t r = 0; r < rows; r++)
            for (size_t c = 0; c < columns; c++)
              right &= std::memcmp(to->data() + (r * columns + c) * size, &source[(c * rows + r) * size], size) == 0;
          CHECK(right, "%s rows=%zu columns=%zu", name_of(dtype), rows, columns);
        };
        at_both_edges(source.data(), source.size(), check);
        const Guarded odd(source.size() + 1);  // files promise no alignment
        std::memcpy(odd.first() + 1, source.data(), source.size());
        check(odd.first() + 1);
      }
}

}  // namespace
}  // namespace lmhead::test
