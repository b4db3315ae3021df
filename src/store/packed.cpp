#include "packed.hpp"

#include <boost/json/memory_resource.hpp>
#include <boost/json/monotonic_resource.hpp>
#include <boost/json/storage_ptr.hpp>
#include <cstddef>
#include <functional>
#include <new>

namespace wick::store {

namespace json = boost::json;

namespace {

std::size_t aligned(std::size_t at, std::size_t alignment) { return (at + alignment - 1) / alignment * alignment; }

/// Counts what a Block would have to hold.
class Counter final : public json::memory_resource {
 public:
  std::size_t bytes() const { return bytes_; }
  std::size_t allocations() const { return allocations_; }

 private:
  void* do_allocate(std::size_t bytes, std::size_t alignment) override {
    bytes_ = aligned(bytes_, alignment) + bytes;
    ++allocations_;
    return scratch_.allocate(bytes, alignment);
  }
  void do_deallocate(void*, std::size_t, std::size_t) override {}
  bool do_is_equal(const memory_resource& other) const noexcept override { return this == &other; }

  std::size_t bytes_ = 0;
  std::size_t allocations_ = 0;
  json::monotonic_resource scratch_;
};

/// The first `allocations`, of `bytes` together, come from the block, what is asked after them (by copies of what is in
/// the block) from the heap. Filled by one thread before others see it.
class Block final : public json::memory_resource {
 public:
  Block(std::size_t bytes, std::size_t allocations)
      : bytes_(bytes), left_(allocations), memory_(std::make_unique_for_overwrite<std::byte[]>(bytes)) {}

 private:
  void* do_allocate(std::size_t bytes, std::size_t alignment) override {
    const auto begin = aligned(used_, alignment);
    if (left_ == 0 || begin + bytes > bytes_) return ::operator new(bytes, std::align_val_t(alignment));
    --left_;
    used_ = begin + bytes;
    return memory_.get() + begin;
  }
  void do_deallocate(void* at, std::size_t bytes, std::size_t alignment) override {
    const std::less<const void*> before;
    const bool inside = !before(at, memory_.get()) && before(at, memory_.get() + bytes_);
    if (!inside) ::operator delete(at, bytes, std::align_val_t(alignment));
  }
  bool do_is_equal(const memory_resource& other) const noexcept override { return this == &other; }

  std::size_t bytes_;
  std::size_t left_;
  std::size_t used_ = 0;
  std::unique_ptr<std::byte[]> memory_;
};

}  // namespace

std::shared_ptr<const json::object> packed(const json::object& object) {
  Counter counter;
  {
    const json::object measured(object, &counter);
  }
  return std::make_shared<const json::object>(
      object, json::make_shared_resource<Block>(counter.bytes(), counter.allocations()));
}

}  // namespace wick::store
