#include "wick/eventing/access.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "wick/base/text.hpp"

namespace wick::eventing {

namespace {

bool names_subject(std::string_view allowed, std::string_view subject) {
  if (iequals(allowed, subject)) return true;
  return allowed.ends_with('*') && subject.starts_with(allowed.substr(0, allowed.size() - 1));
}

}  // namespace

std::string service_account_subject(std::string_view name_space, std::string_view name) {
  return fmt::format("system:serviceaccount:{}:{}", name_space, name);
}

Result<void> may_send(const AccessRules& rules, DefaultAccess otherwise, std::string_view name_space,
                      std::string_view subject, const CloudEvent& event) {
  for (const auto& policy : rules.policies) {
    const auto names = [&](const std::string& allowed) { return names_subject(allowed, subject); };
    if (std::ranges::none_of(policy.subjects, names)) continue;
    const auto mismatch = policy.filters.mismatch(event);
    if (!mismatch) return {};
    return fail(Errc::denied, fmt::format("event policy {} lets \"{}\" send, but not this event: {}", policy.name,
                                          printable(subject), *mismatch));
  }
  if (!rules.policies.empty())
    return fail(Errc::denied, fmt::format("\"{}\" is not part of the applying event policies", printable(subject)),
                "kubectl get eventpolicies");
  if (otherwise == DefaultAccess::allow_all) return {};
  if (otherwise == DefaultAccess::deny_all)
    return fail(Errc::denied, "no event policies apply for resource and default-authorization-mode is set to deny-all");
  if (subject.starts_with(service_account_subject(name_space, ""))) return {};
  return fail(Errc::denied,
              fmt::format("no policies apply for resource. default-authorization-mode is set to allow-same-namespace, "
                          "but token is from subject \"{}\", which is not part of \"{}\" namespace",
                          printable(subject), printable(name_space)));
}

}  // namespace wick::eventing
