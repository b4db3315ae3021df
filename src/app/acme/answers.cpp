#include "app/acme/answers.hpp"

#include <boost/json/parse.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <ctime>
#include <utility>

#include "wick/base/text.hpp"

namespace wick::app::acme {

namespace json = boost::json;

namespace {

constexpr std::size_t url_bytes_max = 2048;
constexpr std::size_t list_max = 100;
constexpr std::size_t token_bytes_max = 512;
constexpr std::size_t detail_bytes_max = 500;
constexpr int depth_max = 8;
constexpr std::string_view error_prefix = "urn:ietf:params:acme:error:";
constexpr seconds wait_max = std::chrono::hours(24 * 7);

constexpr std::array<std::pair<std::string_view, Status>, 8> statuses{{{"pending", Status::pending},
                                                                       {"ready", Status::ready},
                                                                       {"processing", Status::processing},
                                                                       {"valid", Status::valid},
                                                                       {"invalid", Status::invalid},
                                                                       {"deactivated", Status::deactivated},
                                                                       {"expired", Status::expired},
                                                                       {"revoked", Status::revoked}}};

bool is_base64url(std::string_view text) {
  return !text.empty() && text.size() <= token_bytes_max && std::ranges::all_of(text, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
  });
}

Result<json::object> object_in(std::string_view bytes, std::string_view what) {
  if (bytes.size() > answer_bytes_max) return fail(Errc::corrupt, fmt::format("{} of {} bytes", what, bytes.size()));
  json::parse_options options;
  options.max_depth = depth_max;
  boost::system::error_code error;
  auto value = json::parse(bytes, error, {}, options);
  if (error || !value.is_object()) return fail(Errc::corrupt, fmt::format("{} is not a JSON object", what));
  return std::move(value.get_object());
}

std::string text_of(const json::object& object, std::string_view name) {
  const auto* value = object.if_contains(name);
  return value && value->is_string() ? std::string(value->get_string()) : std::string();
}

Result<std::string> url_of(const json::value* value, std::string_view name) {
  const std::string_view url = value && value->is_string() ? std::string_view(value->get_string()) : std::string_view();
  const bool plain =
      url.size() <= url_bytes_max && std::ranges::all_of(url, [](char c) { return c > ' ' && c < 0x7f; });
  if (!plain || !url.starts_with("https://"))
    return fail(Errc::corrupt, fmt::format("{} must be an https:// URL, not '{}'", name, printable(url, 100)));
  return std::string(url);
}

Result<Status> status_of(const json::object& object) {
  const auto text = text_of(object, "status");
  for (const auto& [name, status] : statuses)
    if (name == text) return status;
  return fail(Errc::corrupt, fmt::format("status '{}' is unknown", printable(text, 50)));
}

Trouble trouble_in(const json::object& problem) {
  Trouble trouble{.type = text_of(problem, "type"), .detail = {}};
  if (trouble.type.starts_with(error_prefix)) trouble.type.erase(0, error_prefix.size());
  trouble.type = printable(trouble.type, 100);
  auto detail = text_of(problem, "detail");
  // Of several names, each has a problem of its own (RFC 8555 6.7.1).
  const auto* parts = problem.if_contains("subproblems");
  if (parts && parts->is_array())
    for (const auto& part : parts->get_array())
      if (part.is_object() && detail.size() < detail_bytes_max) detail += "; " + text_of(part.get_object(), "detail");
  trouble.detail = printable(detail, detail_bytes_max);
  return trouble;
}

std::optional<Trouble> trouble_of(const json::object& object) {
  const auto* error = object.if_contains("error");
  if (!error || !error->is_object()) return std::nullopt;
  return trouble_in(error->get_object());
}

/// nullopt: one that we do not know how to read, and need not.
std::optional<Challenge> challenge_in(const json::value& value) {
  if (!value.is_object()) return std::nullopt;
  const auto& object = value.get_object();
  auto url = url_of(object.if_contains("url"), "url");
  auto status = status_of(object);
  Challenge challenge{.type = text_of(object, "type"), .url = {}, .token = text_of(object, "token"), .trouble = {}};
  const bool known = challenge.type == "http-01" || challenge.type == "tls-alpn-01" || challenge.type == "dns-01";
  if (!known || !url || !status || !is_base64url(challenge.token)) return std::nullopt;
  challenge.url = std::move(*url);
  challenge.status = *status;
  challenge.trouble = trouble_of(object);
  return challenge;
}

}  // namespace

std::string_view to_string(Status status) {
  return std::ranges::find(statuses, status, &decltype(statuses)::value_type::second)->first;
}

Result<Directory> parse_directory(std::string_view bytes) {
  auto object = object_in(bytes, "the directory");
  if (!object) return fail(std::move(object.error()));
  Directory directory;
  for (const auto& [name, member] : {std::pair{"newNonce", &directory.new_nonce},
                                     {"newAccount", &directory.new_account},
                                     {"newOrder", &directory.new_order}}) {
    auto url = url_of(object->if_contains(name), name);
    if (!url) return fail(std::move(url.error()).within("the directory"));
    *member = std::move(*url);
  }
  if (const auto* meta = object->if_contains("meta"); meta && meta->is_object()) {
    directory.terms = printable(text_of(meta->get_object(), "termsOfService"), url_bytes_max);
    const auto* external = meta->get_object().if_contains("externalAccountRequired");
    directory.wants_external_account = external && external->is_bool() && external->get_bool();
  }
  return directory;
}

Result<Order> parse_order(std::string_view bytes) {
  auto object = object_in(bytes, "the order");
  if (!object) return fail(std::move(object.error()));
  Order order;
  auto status = status_of(*object);
  if (!status) return fail(std::move(status.error()).within("the order"));
  order.status = *status;
  order.trouble = trouble_of(*object);
  auto finalize = url_of(object->if_contains("finalize"), "finalize");
  if (!finalize) return fail(std::move(finalize.error()).within("the order"));
  order.finalize = std::move(*finalize);
  const auto* list = object->if_contains("authorizations");
  if (!list || !list->is_array() || list->get_array().size() > list_max)
    return fail(Errc::corrupt, "the order has no list of authorizations");
  for (const auto& value : list->get_array()) {
    auto url = url_of(&value, "authorizations");
    if (!url) return fail(std::move(url.error()).within("the order"));
    order.authorizations.push_back(std::move(*url));
  }
  if (order.status == Status::valid) {
    auto certificate = url_of(object->if_contains("certificate"), "certificate");
    if (!certificate) return fail(std::move(certificate.error()).within("the order"));
    order.certificate = std::move(*certificate);
  }
  return order;
}

Result<Authorization> parse_authorization(std::string_view bytes) {
  auto object = object_in(bytes, "the authorization");
  if (!object) return fail(std::move(object.error()));
  Authorization authorization;
  auto status = status_of(*object);
  if (!status) return fail(std::move(status.error()).within("the authorization"));
  authorization.status = *status;
  if (const auto* identifier = object->if_contains("identifier"); identifier && identifier->is_object())
    authorization.host = to_lower(text_of(identifier->get_object(), "value"));
  const auto* list = object->if_contains("challenges");
  if (!list || !list->is_array() || list->get_array().size() > list_max)
    return fail(Errc::corrupt, "the authorization has no list of challenges");
  for (const auto& value : list->get_array())
    if (auto challenge = challenge_in(value)) authorization.challenges.push_back(std::move(*challenge));
  return authorization;
}

Trouble parse_trouble(std::string_view bytes) {
  auto object = object_in(bytes, "the problem");
  return object ? trouble_in(*object) : Trouble{};
}

std::optional<seconds> parse_retry_after(std::string_view text, WallTime now) {
  if (const auto count = parse_unsigned(text))
    return std::min<seconds>(wait_max, seconds(std::min<std::uint64_t>(*count, wait_max.count())));
  std::tm parts{};
  const std::string date(text);
  const char* end = ::strptime(date.c_str(), "%a, %d %b %Y %H:%M:%S GMT", &parts);
  if (!end || *end != '\0') return std::nullopt;
  const auto then = std::chrono::system_clock::from_time_t(::timegm(&parts));
  return std::clamp<seconds>(std::chrono::ceil<seconds>(then - now), seconds(0), wait_max);
}

std::optional<std::string> parse_nonce(std::string_view text) {
  return is_base64url(text) ? std::optional<std::string>(text) : std::nullopt;
}

}  // namespace wick::app::acme
