// What a deploy is made of, as the person named it: a folder, a git URL with a ref, or an image. And the name that
// follows from it.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <variant>

#include "app/cli/problem.hpp"

namespace wick::app::cli {

struct FolderSource {
  std::filesystem::path path;  // absolute, without symlinks
};
struct GitUrlSource {
  std::string url;
  std::string ref;        // after '#'; empty: the remote's HEAD
  bool is_local() const;  // file://
};
struct ImageSource {
  std::string reference;
};
using Source = std::variant<FolderSource, GitUrlSource, ImageSource>;

/// A folder that exists wins; what has a scheme or looks like user@host:path is git; the rest must look like an image.
Outcome<Source> parse_source(std::string_view argument);

/// A name Kubernetes takes for a Service (RFC 1035 label): of `subpath` if given, else of the folder, repository or
/// image.
Outcome<std::string> default_name(const Source& source, std::string_view subpath);
/// Lower case, every other run of characters one '-', starting with a letter, at most 63; "" when nothing is left.
std::string label_from(std::string_view text);

}  // namespace wick::app::cli
