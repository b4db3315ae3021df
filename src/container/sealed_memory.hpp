// A memfd whose content nobody can change any more: how values without a fixed size cross the runner's socket.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "wick/base/error.hpp"
#include "wick/os/fd.hpp"

namespace wick::container {

/// A memfd with `bytes`, sealed against every change.
Result<Fd> seal(std::string_view bytes);

/// The content of a memfd. Without the seals (write, grow, shrink) the other side could change it after we looked:
/// Errc::invalid, as for anything that is not a memfd. Errors: too_large past `bytes_max`.
Result<std::string> read_sealed(const Fd& memory, std::size_t bytes_max);

}  // namespace wick::container
