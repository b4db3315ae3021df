#include "app/open_acme.hpp"

#include <fmt/format.h>

namespace wick::app {

Result<std::unique_ptr<acme::Acme>> open_acme(const AcmeSettings& settings, const std::filesystem::path& folder,
                                              acme::AcmeDoors doors) {
  acme::AcmeOptions options{.folder = folder,
                            .issuing = {.session = {.directory = settings.directory,
                                                    .email = settings.email,
                                                    .agrees_to_terms = settings.agrees_to_terms,
                                                    .external_account = {.id = settings.external_account, .key = {}}}},
                            .authority = settings.authority,
                            .external_account_key = settings.external_account_key,
                            .hook = settings.hook};
  if (!settings.challenges.empty())
    options.issuing.challenges = settings.challenges;
  else if (!settings.hook.empty())
    options.issuing.challenges = {"dns-01"};
  return acme::Acme::open(std::move(doors), std::move(options));
}

control::IssuedCertificate told(const acme::Issuer& issuer, const std::string& host, bool needed) {
  auto state = issuer.state(host);
  using Kind = acme::Issuer::State::Kind;
  using State = control::IssuedCertificate::State;
  if (state.kind == Kind::unwanted && needed)
    return {.state = State::pending, .message = "an authority will be asked for it"};
  const auto kind = state.kind == Kind::ready     ? State::ready
                    : state.kind == Kind::pending ? State::pending
                    : state.kind == Kind::failed  ? State::failed
                                                  : State::none;
  return {.state = kind, .message = std::move(state.message)};
}

api::Check check_certificates(const acme::Issuer& issuer) {
  using Kind = acme::Issuer::State::Kind;
  api::Check check{.name = "certificates", .because = {}, .hint = {}};
  std::size_t good = 0;
  for (const auto& [host, state] : issuer.states()) {
    if (state.kind == Kind::ready) ++good;
    if (state.message.empty() || state.kind == Kind::pending) continue;
    check.level = api::Check::Level::warn;
    check.because = fmt::format("{}: {}", host, state.message);
    check.hint = "wick domain ls; once it is mended, wick domain add asks at once";
  }
  if (check.because.empty()) check.because = fmt::format("{} by ACME", good);
  return check;
}

}  // namespace wick::app
