// A blob as a file of an image layout that somebody else has filled.
#pragma once

#include <string>

#include "tree.hpp"
#include "wick/image/content_store.hpp"

namespace wick::image {

/// Errors: not_found; invalid for what is no file.
Result<Fd> open_regular(const Tree& tree, const std::string& path);

/// Reads all of it and goes back to its beginning. Errors: corrupt.
Result<void> check_stored_bytes(int file, const Descriptor& descriptor);

}  // namespace wick::image
