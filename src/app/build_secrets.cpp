#include "app/build_secrets.hpp"

#include "wick/base/text.hpp"

namespace wick::app {

namespace {
constexpr std::size_t kept_max = 256;  // at 1 MiB each: what a body may have
constexpr std::size_t ticket_bytes = 16;
constexpr std::chrono::hours kept_for{6};  // the longest a build may wait for others
}  // namespace

void BuildSecrets::drop_old() {
  std::erase_if(kept_, [now = clock_.now()](const auto& entry) { return now - entry.second.since > kept_for; });
}

Result<std::string> BuildSecrets::keep(const std::string& name_space, Values values) {
  drop_old();
  if (kept_.size() >= kept_max)
    return fail(Errc::overloaded, "the secrets of too many builds wait for them", "try again when some have begun");
  auto ticket = random_hex(ticket_bytes);
  kept_.emplace(ticket, Kept{.name_space = name_space, .values = std::move(values), .since = clock_.now()});
  return ticket;
}

Result<BuildSecrets::Values> BuildSecrets::take(const std::string& name_space, const std::string& ticket) {
  drop_old();
  const auto found = kept_.find(ticket);
  if (found == kept_.end() || found->second.name_space != name_space)
    return fail(Errc::not_found, "the secrets of this build are not there any more",
                "they are kept in memory only, for one build: run the command again");
  auto values = std::move(found->second.values);
  kept_.erase(found);
  return values;
}

}  // namespace wick::app
