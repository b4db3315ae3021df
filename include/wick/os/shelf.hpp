// Descriptors that outlive the process that had them, for the one after it: they lie in a pair of sockets which nobody
// reads meanwhile, held by a third process or by systemd's descriptor store (systemd.hpp).
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "wick/base/error.hpp"
#include "wick/os/fd.hpp"

namespace wick {

class Shelf {
 public:
  /// One thing that lies there.
  struct Kept {
    std::string name;
    std::vector<Fd> fds;
  };

  /// Has room for some thousands of things, 277 without CAP_NET_ADMIN. Errors: io.
  static Result<Shelf> make();
  /// The two ends of one that another process made.
  Shelf(Fd in, Fd out) : in_(std::move(in)), out_(std::move(out)) {}

  /// At most Seqpacket::fds_max descriptors, which stay the caller's. Errors: overloaded where there is no room.
  Result<void> put(std::string_view name, std::span<const int> fds) const;
  /// All that lies there, in the order in which it was put.
  std::vector<Kept> take() const;

  const Fd& in() const { return in_; }
  const Fd& out() const { return out_; }

 private:
  Fd in_, out_;
};

}  // namespace wick
