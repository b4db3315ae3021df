// Previews: a branch besides the one that a Service serves, as a Configuration of the Service with a tag of its own and
// none of the traffic. Nothing of it is in the Service's spec, so that an ordinary deploy, `kn` and `wick export` see
// the Service as it is; on the Route it is a Knative target like any other:
//
//   Service hello            wick.dev/previews: "feature/*, fix-?"     branches that become previews when they are
//   pushed Configuration hello-preview-feature-x                             stamps out hello-preview-feature-x-00001,
//   …
//     labels       serving.knative.dev/service: hello, wick.dev/preview: feature-x   (the tag)
//     annotations  wick.dev/preview-branch: feature/x, wick.dev/preview-env: ["WHO=moon"], wick.dev/source-commit
//   Route hello              {configurationName: hello-preview-feature-x, tag: feature-x, percent: 0}
//   BuildRun                 wick.dev/preview: {"service": "hello", "branch": "feature/x", "env": ["WHO=moon"]}
#pragma once

#include <boost/json/object.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "wick/base/error.hpp"

namespace wick::model {

namespace json = boost::json;

namespace names {
inline constexpr std::string_view previews = "wick.dev/previews";              // of a Service
inline constexpr std::string_view preview = "wick.dev/preview";                // of a BuildRun, and of a Configuration
inline constexpr std::string_view preview_branch = "wick.dev/preview-branch";  // of a Configuration
inline constexpr std::string_view preview_env = "wick.dev/preview-env";        // of a Configuration
}  // namespace names

/// What a BuildRun says of the preview that its image becomes.
struct PreviewOrder {
  std::string service;
  std::string branch;
  std::vector<std::string> env{};  // "K=V" sets, "K-" removes; besides what earlier orders of this branch said
};
inline constexpr std::size_t preview_env_max = 64;

std::string to_text(const PreviewOrder& order);
/// Errors: invalid, with what was expected.
Result<PreviewOrder> parse_preview_order(std::string_view text);

/// Does to the variables of the first container of a Service or Configuration what these say, each of which
/// is_environment_change.
void change_environment(json::object& object, const std::vector<std::string>& changes);

/// "K=V" or "K-", with a name that a variable can have.
bool is_environment_change(std::string_view text);

/// The name in a preview's URL: the branch as a DNS label. `told_apart` ends it with five digits of the branch's
/// digest, for where the plain one is taken; one that was cut has them always. "" where the Service's name leaves no
/// room (over 40 bytes).
std::string preview_tag(std::string_view branch, std::string_view service, bool told_apart);

/// The Configuration of that preview: at most 57 bytes, so that its revisions have names too.
std::string preview_configuration(std::string_view service, std::string_view tag);

/// Whether `patterns`, a list with commas, has one that fits: '*' is any text, '?' one character.
bool is_previewed(std::string_view patterns, std::string_view branch);

}  // namespace wick::model
