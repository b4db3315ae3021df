// challenge = auth-scheme [ 1*SP ( token68 / #auth-param ) ], and the field is a list of them: after a comma comes
// either one more parameter ("name=") or the next scheme. Which one it is shows only behind the token.
#include "challenge.hpp"

#include <fmt/format.h>

#include "wick/base/text.hpp"

namespace wick::image {

namespace {

constexpr std::size_t field_bytes_max = 8 << 10;

bool is_alphanumeric(char c) { return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z'); }
bool is_token_char(char c) { return is_alphanumeric(c) || std::string_view("!#$%&'*+-.^_`|~").contains(c); }
bool is_token68_char(char c) { return is_alphanumeric(c) || std::string_view("-._~+/").contains(c); }

class ChallengeReader {
 public:
  explicit ChallengeReader(std::string_view text) : rest_(text) {}

  Result<std::vector<Challenge>> read() {
    std::vector<Challenge> all;
    for (skip_list(); !rest_.empty(); skip_list()) {
      Challenge challenge{.scheme = to_lower(take(is_token_char)), .token = {}, .parameters = {}};
      if (challenge.scheme.empty()) return unexpected("a scheme");
      const bool spaced = skip_spaces();
      if (!rest_.empty() && rest_.front() != ',') {
        if (!spaced) return unexpected("a space");
        if (!read_token68(challenge)) {
          if (auto read = read_parameters(challenge); !read) return fail(std::move(read.error()));
        }
      }
      all.push_back(std::move(challenge));
    }
    return all;
  }

 private:
  template <class Is>
  std::string_view take(Is is) {
    std::size_t size = 0;
    while (size < rest_.size() && is(rest_[size])) ++size;
    const auto taken = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return taken;
  }
  bool skip_spaces() {
    return !take([](char c) { return c == ' ' || c == '\t'; }).empty();
  }
  void skip_list() {
    take([](char c) { return c == ' ' || c == '\t' || c == ','; });
  }

  std::unexpected<Error> unexpected(std::string_view wanted) const {
    return fail(Errc::invalid,
                fmt::format("WWW-Authenticate: {} was expected at '{}'", wanted, printable(rest_.substr(0, 40), 60)));
  }

  bool read_token68(Challenge& challenge) {
    const auto before = rest_;
    auto token = take(is_token68_char);
    const auto padding = take([](char c) { return c == '='; });
    skip_spaces();
    if (!token.empty() && (rest_.empty() || rest_.front() == ',')) {
      challenge.token = std::string(token) + std::string(padding);
      return true;
    }
    rest_ = before;
    return false;
  }

  Result<void> read_parameters(Challenge& challenge) {
    while (true) {
      const auto before = rest_;
      const auto name = to_lower(take(is_token_char));
      skip_spaces();
      if (name.empty() || !rest_.starts_with('=')) {
        if (challenge.parameters.empty()) return unexpected("name=value");
        rest_ = before;  // the next challenge
        return {};
      }
      rest_.remove_prefix(1);
      skip_spaces();
      auto value = read_value();
      if (!value) return fail(std::move(value.error()));
      if (!challenge.parameters.emplace(name, std::move(*value)).second)
        return fail(Errc::invalid, fmt::format("WWW-Authenticate: '{}' comes twice", printable(name)));
      skip_spaces();
      if (!rest_.empty() && rest_.front() != ',') return unexpected("a comma");
      skip_list();
      if (rest_.empty()) return {};
    }
  }

  Result<std::string> read_value() {
    if (!rest_.starts_with('"')) return std::string(take(is_token_char));
    std::string value;
    for (std::size_t i = 1; i < rest_.size(); ++i) {
      char c = rest_[i];
      if (c == '"') {
        rest_.remove_prefix(i + 1);
        return value;
      }
      if (c == '\\' && i + 1 < rest_.size()) c = rest_[++i];
      if (static_cast<unsigned char>(c) < 0x20 && c != '\t') return unexpected("text");
      value += c;
    }
    return unexpected("a closing quote");
  }

  std::string_view rest_;
};

}  // namespace

Result<std::vector<Challenge>> parse_challenges(std::string_view field) {
  if (field.size() > field_bytes_max)
    return fail(Errc::invalid, fmt::format("WWW-Authenticate has {} bytes; at most {}", field.size(), field_bytes_max));
  return ChallengeReader(field).read();
}

}  // namespace wick::image
