#include "app/acme/session.hpp"

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include <fmt/format.h>

#include <algorithm>

#include "app/acme/certificates.hpp"
#include "wick/base/text.hpp"

namespace wick::app::acme {

namespace json = boost::json;

namespace {

std::unexpected<Failure> unreachable(Error error) {
  return std::unexpected(Failure{.kind = Failure::Kind::unreachable, .error = std::move(error)});
}

std::unexpected<Failure> refused(Error error) {
  return std::unexpected(Failure{.kind = Failure::Kind::refused, .error = std::move(error)});
}

template <class T>
std::unexpected<Failure> pass_on(Outcome<T>& outcome) {
  return std::unexpected(std::move(outcome.error()));
}

/// What an answer of 400 and above says.
Failure failure_of(const http::Response& response, std::optional<seconds> retry_after) {
  const auto trouble = parse_trouble(response.body);
  const auto status = response.head.status;
  const bool of_server = status >= 500 || trouble.type == "serverInternal";
  return {.kind = of_server ? Failure::Kind::unreachable : Failure::Kind::refused,
          .error = Error(of_server ? Errc::unavailable : Errc::denied,
                         fmt::format("the authority answered {}{}", status,
                                     trouble.type.empty() ? std::string() : " " + trouble.text())),
          .type = trouble.type,
          .retry_after = retry_after};
}

}  // namespace

/// The server's own wish, else doubled each time; and an end.
class Session::Pace {
 public:
  Pace(Clock& clock, const Options& options)
      : clock_(clock), options_(options), next_(options.poll_first), end_(clock.now() + options.poll_limit) {}

  /// False at the limit.
  awaitable<bool> wait(std::optional<seconds> wish) {
    auto pause = wish ? std::clamp<milliseconds>(*wish, options_.poll_first, options_.poll_limit) : next_;
    next_ = std::min(options_.poll_max, next_ * 2);
    if (clock_.now() >= end_) co_return false;
    co_await clock_.sleep(pause);
    co_return true;
  }

 private:
  Clock& clock_;
  const Options& options_;
  milliseconds next_;
  TimePoint end_;
};

Session::Session(Clock& clock, Call call, Options options, AccountKey key, std::string account)
    : clock_(clock),
      call_(std::move(call)),
      options_(std::move(options)),
      key_(std::move(key)),
      account_(std::move(account)) {}

awaitable<Outcome<Session::Answer>> Session::exchange(std::string url, http::Request request) {
  request.head.fields.set("User-Agent", "wick/" WICK_VERSION);
  auto answered = co_await call_(url, std::move(request));
  if (!answered) co_return unreachable(std::move(answered.error()).within(url));
  Answer answer{.response = std::move(*answered), .retry_after = {}, .location = {}};
  const auto& fields = answer.response.head.fields;
  if (const auto nonce = fields.find("Replay-Nonce")) nonce_ = parse_nonce(*nonce).value_or(std::string());
  if (const auto wait = fields.find("Retry-After")) answer.retry_after = parse_retry_after(*wait, clock_.wall());
  if (const auto location = fields.find("Location")) answer.location = *location;
  if (answer.response.head.status >= 400) {
    auto failure = failure_of(answer.response, answer.retry_after);
    auto placed = std::move(failure.error).within(url);
    failure.error = std::move(placed);
    co_return std::unexpected(std::move(failure));
  }
  co_return answer;
}

awaitable<Outcome<void>> Session::learn_directory() {
  if (directory_) co_return Outcome<void>{};
  http::Request request;
  auto answer = co_await exchange(options_.directory, std::move(request));
  if (!answer) co_return pass_on(answer);
  auto directory = parse_directory(answer->response.body);
  if (!directory)
    co_return unreachable(std::move(directory.error())
                              .within(options_.directory)
                              .hint("--acme-directory is the URL of the authority's ACME directory"));
  directory_ = std::move(*directory);
  co_return Outcome<void>{};
}

awaitable<Outcome<std::string>> Session::nonce() {
  if (!nonce_.empty()) co_return std::exchange(nonce_, {});
  http::Request request;
  request.head.method = "HEAD";
  auto answer = co_await exchange(directory_->new_nonce, std::move(request));
  if (!answer) co_return pass_on(answer);
  if (nonce_.empty()) co_return unreachable(Error(Errc::corrupt, "the authority gives no Replay-Nonce"));
  co_return std::exchange(nonce_, {});
}

/// RFC 8555 6.2: the account's URL, or where there is none yet its key.
std::string Session::header(const std::string& url, const std::string& nonce) const {
  json::object header{{"alg", "ES256"}, {"nonce", nonce}, {"url", url}};
  if (account_.empty())
    header["jwk"] = json::parse(key_.jwk());
  else
    header["kid"] = account_;
  return json::serialize(header);
}

awaitable<Outcome<Session::Answer>> Session::post(std::string url, std::string payload) {
  for (int tries = 1;; ++tries) {
    auto fresh = co_await nonce();
    if (!fresh) co_return pass_on(fresh);
    auto jws = key_.jws(header(url, *fresh), payload);
    if (!jws) co_return refused(std::move(jws.error()));
    http::Request request{.head = {.method = "POST", .fields = {{"Content-Type", "application/jose+json"}}},
                          .body = std::move(*jws)};
    auto answer = co_await exchange(url, std::move(request));
    if (answer || answer.error().type != "badNonce" || tries == nonce_tries) co_return answer;
  }
}

awaitable<Outcome<void>> Session::enter_account() {
  if (!account_.empty()) co_return Outcome<void>{};
  const auto& external = options_.external_account;
  if (directory_->wants_external_account && external.id.empty())
    co_return refused(Error(Errc::unsupported,
                            "the authority takes only accounts that it has given out itself "
                            "(external account binding)")
                          .hint("--acme-eab-id and --acme-eab-key with what it gave you"));
  if (!directory_->terms.empty() && !options_.agrees_to_terms)
    co_return refused(Error(Errc::denied, "the authority's terms of service are not agreed to: " + directory_->terms)
                          .hint("read them, then --acme-agree-tos"));
  json::object account{{"termsOfServiceAgreed", options_.agrees_to_terms}};
  if (!options_.email.empty()) account["contact"] = {"mailto:" + options_.email};
  if (!external.id.empty()) {
    const json::object header{{"alg", "HS256"}, {"kid", external.id}, {"url", directory_->new_account}};
    account["externalAccountBinding"] = json::parse(mac_jws(json::serialize(header), key_.jwk(), external.key));
  }
  auto answer = co_await post(directory_->new_account, json::serialize(account));
  if (!answer) co_return pass_on(answer);
  if (!answer->location.starts_with("https://"))
    co_return unreachable(Error(Errc::corrupt, "the authority does not say where our account is (Location)"));
  account_ = answer->location;
  co_return Outcome<void>{};
}

awaitable<Outcome<Issued>> Session::issue(std::string host, std::string by, Show show) {
  const bool known = !account_.empty();
  auto learnt = co_await learn_directory();
  if (!learnt) co_return pass_on(learnt);
  auto entered = co_await enter_account();
  if (!entered) co_return pass_on(entered);
  auto issued = co_await order_certificate(host, by, show);
  if (issued || !known || issued.error().type != "accountDoesNotExist") co_return issued;
  account_.clear();
  entered = co_await enter_account();
  if (!entered) co_return pass_on(entered);
  co_return co_await order_certificate(host, by, show);
}

awaitable<Outcome<Issued>> Session::order_certificate(const std::string& host, const std::string& by,
                                                      const Show& show) {
  const json::object wish{{"identifiers", json::array{json::object{{"type", "dns"}, {"value", host}}}}};
  auto ordered = co_await post(directory_->new_order, json::serialize(wish));
  if (!ordered) co_return pass_on(ordered);
  const auto url = ordered->location;
  auto order = parse_order(ordered->response.body);
  if (!order) co_return unreachable(std::move(order.error()));
  if (!url.starts_with("https://"))
    co_return unreachable(Error(Errc::corrupt, "the authority does not say where our order is (Location)"));
  for (const auto& authorization : order->authorizations) {
    auto proven = co_await prove(authorization, host, by, show);
    if (!proven) co_return pass_on(proven);
  }
  auto ready = co_await await_order(url, Status::ready);
  if (!ready) co_return pass_on(ready);
  auto request = request_certificate(host);
  if (!request) co_return refused(std::move(request.error()));
  auto finalized =
      co_await post(ready->finalize, json::serialize(json::object{{"csr", base64url_encode(request->der)}}));
  if (!finalized) co_return pass_on(finalized);
  auto done = co_await await_order(url, Status::valid);
  if (!done) co_return pass_on(done);
  co_return co_await download(done->certificate, host, std::move(request->key));
}

awaitable<Outcome<void>> Session::prove(const std::string& url, const std::string& host, const std::string& by,
                                        const Show& show) {
  auto answer = co_await post(url, {});
  if (!answer) co_return pass_on(answer);
  auto authorization = parse_authorization(answer->response.body);
  if (!authorization) co_return unreachable(std::move(authorization.error()));
  if (authorization->status == Status::valid) co_return Outcome<void>{};
  if (authorization->host != host)
    co_return unreachable(Error(Errc::corrupt, fmt::format("the authority wants a proof for '{}', which was not asked",
                                                           printable(authorization->host))));
  const auto challenge = std::ranges::find(authorization->challenges, by, &Challenge::type);
  if (challenge == authorization->challenges.end())
    co_return std::unexpected(Failure{
        .kind = Failure::Kind::challenge,
        .error = Error(Errc::unsupported, fmt::format("the authority offers no challenge {} for {}", by, host))});
  Proof proof{
      .type = by, .host = host, .token = challenge->token, .key_authorization = key_.authorization(challenge->token)};
  auto shown = co_await show(std::move(proof));
  if (!shown) co_return std::unexpected(Failure{.kind = Failure::Kind::challenge, .error = std::move(shown.error())});
  if (challenge->status == Status::pending) {
    auto begun = co_await post(challenge->url, "{}");
    if (!begun) co_return pass_on(begun);
  }
  co_return co_await await_validation(url, by);
}

awaitable<Outcome<void>> Session::await_validation(const std::string& url, const std::string& type) {
  Pace pace(clock_, options_);
  while (true) {
    auto answer = co_await post(url, {});
    if (!answer) co_return pass_on(answer);
    auto authorization = parse_authorization(answer->response.body);
    if (!authorization) co_return unreachable(std::move(authorization.error()));
    if (authorization->status == Status::valid) co_return Outcome<void>{};
    if (authorization->status != Status::pending) {
      const auto tried = std::ranges::find(authorization->challenges, type, &Challenge::type);
      const bool told = tried != authorization->challenges.end() && tried->trouble;
      auto why =
          told ? tried->trouble->text() : fmt::format("the authorization is {}", to_string(authorization->status));
      co_return std::unexpected(Failure{.kind = Failure::Kind::challenge,
                                        .error = Error(Errc::denied, fmt::format("{} failed: {}", type, why)),
                                        .type = told ? tried->trouble->type : std::string()});
    }
    const bool on = co_await pace.wait(answer->retry_after);
    if (!on)
      co_return std::unexpected(
          Failure{.kind = Failure::Kind::challenge,
                  .error = Error(Errc::timed_out, fmt::format("the authority did not validate {} within {} s", type,
                                                              options_.poll_limit / 1s))});
  }
}

/// Until it is `wanted`.
awaitable<Outcome<Order>> Session::await_order(std::string url, Status wanted) {
  Pace pace(clock_, options_);
  while (true) {
    auto answer = co_await post(url, {});
    if (!answer) co_return pass_on(answer);
    auto order = parse_order(answer->response.body);
    if (!order) co_return unreachable(std::move(order.error()));
    if (order->status == wanted) co_return std::move(*order);
    if (order->status == Status::invalid)
      co_return std::unexpected(Failure{
          .kind = Failure::Kind::refused,
          .error =
              Error(Errc::denied, order->trouble ? "the order failed: " + order->trouble->text()
                                                 : std::string("the order failed, and the authority does not say why")),
          .type = order->trouble ? order->trouble->type : std::string()});
    const bool on = co_await pace.wait(answer->retry_after);
    if (!on)
      co_return unreachable(Error(Errc::timed_out, fmt::format("the order is {} after {} s", to_string(order->status),
                                                               options_.poll_limit / 1s)));
  }
}

awaitable<Outcome<Issued>> Session::download(const std::string& url, const std::string& host, std::string key) {
  auto answer = co_await post(url, {});
  if (!answer) co_return pass_on(answer);
  auto& chain = answer->response.body;
  auto certificate = http::Certificate::parse(chain, key);
  if (!certificate) co_return unreachable(std::move(certificate.error()).within("the authority's answer"));
  if (!certificate->covers(host))
    co_return unreachable(
        Error(Errc::corrupt, fmt::format("the certificate that came is for {}, not for {}",
                                         printable(fmt::format("{}", fmt::join(certificate->names(), ", "))), host)));
  co_return Issued{.certificate = std::move(*certificate), .chain = std::move(chain), .key = std::move(key)};
}

}  // namespace wick::app::acme
