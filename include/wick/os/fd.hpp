// One owner for a file descriptor.
#pragma once

#include <utility>

namespace wick {

class Fd {
 public:
  Fd() = default;
  explicit Fd(int value) : value_(value) {}
  Fd(Fd&& other) noexcept : value_(other.release()) {}
  Fd& operator=(Fd&& other) noexcept {
    if (this != &other) reset(other.release());
    return *this;
  }
  ~Fd() { reset(); }

  int get() const { return value_; }
  explicit operator bool() const { return value_ >= 0; }
  [[nodiscard]] int release() { return std::exchange(value_, -1); }
  void reset(int value = -1);
  /// A second descriptor for the same open file, close-on-exec. Empty on failure (errno says why).
  Fd duplicate() const;

 private:
  int value_ = -1;
};

}  // namespace wick
