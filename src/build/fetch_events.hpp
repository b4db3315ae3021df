// What the fetching child says on its standard output, one line an event: fields separated by tabs, control bytes
// escaped.
//   progress TEXT | warning TEXT | commit HEX UNIX_SECONDS | image DIGEST NAME | digest DIGEST |
//   known? DIGEST | error CODE MESSAGE HINT
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>

#include "wick/base/digest.hpp"
#include "wick/base/error.hpp"

namespace wick::build {

struct FetchProgress {
  std::string text;
};
struct FetchWarning {
  std::string text;
};
struct FetchedCommit {
  std::string id;
  std::int64_t time = 0;
};
struct FetchedImage {
  Digest manifest;
  std::string name;
};
/// What something has at a registry.
struct FetchedDigest {
  Digest digest;
};
/// Whether this layer is here; answered on standard input.
struct FetchQuestion {
  Digest layer;
};
using FetchEvent =
    std::variant<FetchProgress, FetchWarning, FetchedCommit, FetchedImage, FetchedDigest, FetchQuestion, Error>;

std::string to_line(const FetchEvent& event);
/// Errc::corrupt for a line that is none of ours: the child may have been taken over.
Result<FetchEvent> parse_fetch_event(std::string_view line);

}  // namespace wick::build
