#include "registry_session.hpp"

#include <fmt/format.h>
#include <poll.h>

#include <algorithm>
#include <boost/json/array.hpp>
#include <chrono>

#include "json_fields.hpp"
#include "wick/base/text.hpp"

namespace wick::image {

namespace json = boost::json;
using std::chrono::milliseconds;
using std::chrono::seconds;

namespace {

constexpr int redirects_max = 5;
constexpr int tries_max = 4;
constexpr milliseconds first_wait{500};
constexpr seconds wait_max{30};  // a registry that wants more is asked again when the revision is
constexpr std::size_t token_bytes_max = 64 << 10;

bool is_redirect(long status) {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}
bool is_busy(long status) { return status == 429 || status == 500 || (status >= 502 && status <= 504); }

/// RFC 9110 10.2.3; a date is not worth a parser here: the usual wait does.
milliseconds wait_after(const HttpAnswer& answer, int tried) {
  if (const auto wanted = parse_unsigned(answer.field("retry-after")))
    return seconds(std::min<std::uint64_t>(*wanted, 3600));
  return first_wait * (1 << tried);
}

bool is_secure(const std::string& url) { return url.starts_with("https://"); }

std::string url_escape(std::string_view text) {
  std::string out;
  for (const char c : text)
    if ((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
        std::string_view("-._~").contains(c))
      out += c;
    else
      out += fmt::format("%{:02X}", static_cast<unsigned char>(c));
  return out;
}

/// "MANIFEST_UNKNOWN: manifest unknown" of the error body (distribution-spec "Error Codes"); "" where it is none.
std::string said_by(const HttpAnswer& answer) {
  auto document = parse_object(answer.body, "the answer");
  if (!document) return {};
  JsonFields fields(*document, "the answer");
  for (const auto& error : fields.objects("errors")) {
    JsonFields of_error(error, "the answer");
    const auto code = of_error.string("code");
    const auto message = of_error.string("message");
    return printable(message.empty() ? code : code + ": " + message, 300);
  }
  return {};
}

}  // namespace

RegistrySession::RegistrySession(const RegistryEndpoint& endpoint, std::string repository, Access access)
    : endpoint_(endpoint),
      host_(endpoint.url.substr(endpoint.url.find("://") + 3)),
      repository_(std::move(repository)),
      access_(access) {}

std::string RegistrySession::url(const std::string& path) const {
  return fmt::format("{}/v2/{}{}", endpoint_.url, repository_, path);
}

std::string RegistrySession::authorization() const {
  const std::lock_guard lock(mutex_);
  return authorization_;
}

Error RegistrySession::about(Error error, const HttpExchange& request) const {
  const auto path =
      request.url.substr(std::min(request.url.size(), request.url.find('/', request.url.find("://") + 3)));
  return std::move(error)
      .within(fmt::format("{} {}", request.method, printable(path.substr(0, path.find('?')))))
      .within("registry " + host_);
}

Error RegistrySession::refused(const HttpExchange& request, const HttpAnswer& answer) const {
  const auto said = said_by(answer);
  const auto words = fmt::format("unexpected status code {}{}", answer.status, said.empty() ? "" : " " + said);
  const auto error = [&]() -> Error {
    if (answer.status == 401 || answer.status == 403)
      return Error(Errc::denied, words)
          .hint(endpoint_.credentials.empty()
                    ? "is it private? imagePullSecrets for a service, wick serve --registry-auth FILE for all of them"
                    : "the credentials for it were given and do not help: are they still valid, and for this "
                      "repository?");
    if (answer.status == 404) return Error(Errc::not_found, words).hint("is the name right, and was it pushed?");
    if (answer.status == 429)
      return Error(Errc::overloaded, words).hint("its rate limit is reached: later, or with credentials");
    if (answer.status >= 500) return Error(Errc::unavailable, words);
    return Error(Errc::unsupported, words);
  }();
  return about(error, request);
}

/// The same request again where the answer says so: for what changes nothing. Only the first has credentials, as long
/// as the origin stays.
Result<HttpAnswer> RegistrySession::follow(CurlConnection& connection, HttpExchange request) {
  const auto first = origin_of(request.url);
  const bool secure = is_secure(request.url);
  const auto fields = request.fields;
  for (int hops = 0;; ++hops) {
    request.fields = fields;
    const bool at_home = origin_of(request.url) == first;
    if (const auto authorization = this->authorization(); at_home && !authorization.empty())
      request.fields.push_back("Authorization: " + authorization);
    {
      const std::lock_guard lock(mutex_);
      request.reach = at_home ? Reach::loopback : peer_;
    }
    request.ca_pem = endpoint_.ca_pem;
    auto answer = connection.exchange(request);
    if (!answer) return fail(about(std::move(answer.error()), request));
    if (at_home) {
      const std::lock_guard lock(mutex_);
      peer_ = answer->peer;
    }
    const bool follows = is_redirect(answer->status) && (request.method == "GET" || request.method == "HEAD");
    if (!follows) return answer;
    if (answer->location.empty() || hops == redirects_max)
      return fail(about(Error(Errc::unavailable, hops == redirects_max ? "one redirect leads to the next, too often"
                                                                       : "a redirect to nowhere"),
                        request));
    if (secure && !is_secure(answer->location))
      return fail(about(Error(Errc::denied, fmt::format("a redirect away from TLS: {}", printable(answer->location))),
                        request));
    request.url = answer->location;
  }
}

Result<HttpAnswer> RegistrySession::request(CurlConnection& connection, HttpExchange request) {
  bool authorized = false;
  for (int tried = 0;;) {
    const auto with = authorization();
    auto answer = follow(connection, request);
    if (!answer) return answer;
    if (answer->status == 401 && !authorized) {
      authorized = true;
      // Another thread may have a new token already.
      if (with == authorization())
        if (auto given = authorize(connection, *answer); !given)
          return fail(given.error().code() == Errc::not_found ? refused(request, *answer)
                                                              : about(std::move(given.error()), request));
      continue;
    }
    if (answer->status == 401 || answer->status == 403) return fail(refused(request, *answer));
    if (!is_busy(answer->status)) return answer;
    const auto wait = wait_after(*answer, tried);
    if (++tried == tries_max || wait > wait_max || request.upload) return fail(refused(request, *answer));
    ::poll(nullptr, 0, static_cast<int>(wait.count()));  // this is a child of its own: nothing else waits for it
  }
}

/// Errors: not_found when nothing that is asked for can be given.
Result<std::string> RegistrySession::authorize(CurlConnection& connection, const HttpAnswer& answer) {
  auto challenges = parse_challenges(answer.field("www-authenticate"));
  if (!challenges) return fail(std::move(challenges.error()));
  const auto& credentials = endpoint_.credentials;
  for (const auto& challenge : *challenges) {
    std::string value;
    if (challenge.scheme == "bearer") {
      auto token = bearer(connection, challenge);
      if (!token) return token;
      value = "Bearer " + *token;
    } else if (challenge.scheme == "basic" && !credentials.username.empty()) {
      value = "Basic " + base64_encode(credentials.username + ":" + credentials.password);
    } else {
      continue;
    }
    const std::lock_guard lock(mutex_);
    authorization_ = value;
    return value;
  }
  return fail(Errc::not_found, "no credentials for what it asks for");
}

/// https://distribution.github.io/distribution/spec/auth/token/ and …/oauth/ with an identity token.
Result<std::string> RegistrySession::bearer(CurlConnection& connection, const Challenge& challenge) {
  const auto parameter = [&](const char* name) {
    const auto found = challenge.parameters.find(name);
    return found == challenge.parameters.end() ? std::string() : found->second;
  };
  const auto realm = resolve_url(endpoint_.url, parameter("realm"));
  if (!realm) return fail(Errc::corrupt, fmt::format("its token server '{}' is no URL", printable(parameter("realm"))));
  if (is_secure(endpoint_.url) && !is_secure(*realm))
    return fail(Errc::denied, fmt::format("its token server {} has no TLS", printable(*realm)));
  std::vector<std::string> scopes{
      fmt::format("repository:{}:{}", repository_, access_ == Access::push ? "pull,push" : "pull")};
  if (const auto asked = parameter("scope"); !asked.empty() && asked != scopes.front()) scopes.push_back(asked);
  const auto& credentials = endpoint_.credentials;
  HttpExchange request{.url = *realm, .ca_pem = endpoint_.ca_pem, .body_bytes_max = token_bytes_max};
  {
    const std::lock_guard lock(mutex_);
    request.reach = origin_of(*realm) == origin_of(endpoint_.url) ? Reach::loopback : peer_;
  }
  std::string query;
  const auto add = [&](std::string_view name, std::string_view value) {
    query += fmt::format("{}{}={}", query.empty() ? "" : "&", name, url_escape(value));
  };
  if (const auto service = parameter("service"); !service.empty()) add("service", service);
  if (!credentials.identity_token.empty()) {
    request.method = "POST";
    add("grant_type", "refresh_token");
    add("client_id", "wick");
    add("scope", fmt::format("{}", fmt::join(scopes, " ")));
    add("refresh_token", credentials.identity_token);
    request.body = query;
    request.fields.emplace_back("Content-Type: application/x-www-form-urlencoded");
  } else {
    for (const auto& scope : scopes) add("scope", scope);
    if (!credentials.username.empty()) {
      add("account", credentials.username);
      request.fields.push_back("Authorization: Basic " +
                               base64_encode(credentials.username + ":" + credentials.password));
    }
    request.url += (request.url.contains('?') ? "&" : "?") + query;
  }
  auto answer = connection.exchange(request);
  const auto where = "token server " + origin_of(*realm);
  if (!answer) return fail(std::move(answer.error()).within(where));
  if (answer->status != 200) return fail(refused(request, *answer).within(where));
  auto document = parse_object(answer->body, "its answer");
  if (!document) return fail(std::move(document.error()).within(where));
  JsonFields fields(*document, "its answer");
  auto token = fields.string("token");
  if (token.empty()) token = fields.string("access_token");
  if (token.empty() || std::ranges::any_of(token, [](unsigned char c) { return c <= ' ' || c > '~'; }))
    return fail(Error(Errc::corrupt, "its answer has no token").within(where));
  return token;
}

}  // namespace wick::image
