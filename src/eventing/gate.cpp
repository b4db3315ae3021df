#include "gate.hpp"

namespace wick::eventing {

std::optional<Gate::Refusal> Gate::check(const std::string& addressable, const Sender& sender,
                                         const CloudEvent& event) const {
  if (!settings_.enabled || sender.kind == Sender::Kind::operating) return std::nullopt;
  static const AccessRules none;
  const auto found = rules_.find(addressable);
  const auto& rules = found == rules_.end() ? none : found->second;
  std::string subject = sender.subject;
  if (sender.kind == Sender::Kind::outside || subject.empty()) {
    if (sender.token.empty())
      return Refusal{401, Error(Errc::denied, "no JWT token found in request")
                              .hint("Authorization: Bearer TOKEN, of wick event token")};
    auto verified = verify_sender_token(sender.token, rules.audience, settings_.token_key, clock_.wall());
    if (!verified) return Refusal{401, std::move(verified.error())};
    subject = std::move(*verified);
  }
  const auto name_space = std::string_view(addressable).substr(0, addressable.find('/'));
  auto allowed = may_send(rules, settings_.otherwise, name_space, subject, event);
  if (!allowed) return Refusal{403, std::move(allowed.error())};
  return std::nullopt;
}

}  // namespace wick::eventing
