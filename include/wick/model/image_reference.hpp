// Image references as manifests write them: "hello", "dev.local/hello:v1", "registry:5000/a/b@sha256:…".
#pragma once

#include <string>
#include <string_view>

#include "wick/base/digest.hpp"

namespace wick::model {

struct ImageReference {
  std::string repository;  // "dev.local/hello"
  std::string tag;         // "" where there is none
  Digest digest;           // empty() where there is none
};

/// Errors: invalid, with the sentence Knative's users know.
Result<ImageReference> parse_image_reference(std::string_view text);
bool is_image_reference(std::string_view text);
/// Why it is none, in Knative's words.
std::string image_reference_complaint(std::string_view text);

}  // namespace wick::model
