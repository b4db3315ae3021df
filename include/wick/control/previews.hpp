// The previews of a Service (wick/model/preview.hpp): which there are, and the target that each is on its Route.
#pragma once

#include <string>
#include <vector>

#include "wick/store/objects.hpp"

namespace wick::control {

/// Each has a tag on the Route and revisions of its own; they sleep as others do.
inline constexpr std::size_t previews_per_service_max = 20;

/// Their Configurations, in the order of their tags.
std::vector<store::ObjectValue> previews_of(const store::Objects& objects, const std::string& name_space,
                                            const std::string& service);
/// That of this branch, or nullptr.
store::ObjectValue preview_of_branch(const store::Objects& objects, const std::string& name_space,
                                     const std::string& service, const std::string& branch);
/// Whether one more branch has room. Errors: not_found (no such Service), invalid (its name leaves no room for a tag),
/// too_large (`previews_per_service_max` are there), each with what to do.
Result<void> check_preview(const store::Objects& objects, const std::string& name_space, const std::string& service,
                           const std::string& branch);
/// Removes that of this branch, and with it its tag and its revisions; a build for it that goes on is cancelled. Its
/// tag, "" when there is none.
awaitable<std::string> remove_preview(store::Objects& objects, std::string name_space, std::string service,
                                      std::string branch);

}  // namespace wick::control
