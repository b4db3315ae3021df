// One certificate from an ACME server (RFC 8555), from the account to the chain. Knows no socket and no disk: requests
// go through a function, challenges are shown through another.
//
//   directory → account → order → for each authorization: show the challenge, say so, wait → finalize → wait → download
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <utility>

#include "app/acme/answers.hpp"
#include "app/acme/key.hpp"
#include "wick/http/message.hpp"
#include "wick/http/tls.hpp"
#include "wick/os/clock.hpp"

namespace wick::app::acme {

struct Failure {
  enum class Kind {
    unreachable,  // no answer, a server's error, or nonsense
    refused,      // by the authority; its words are in the error
    challenge,    // the authority did not see what proves that the name is ours
  };
  Kind kind = Kind::refused;
  Error error;
  std::string type;                    // of RFC 8555 6.7, "rateLimited"; may be empty
  std::optional<seconds> retry_after;  // what the server asked for
};
template <class T>
using Outcome = std::expected<T, Failure>;

/// One exchange with the server at an https URL; the answer has at most answer_bytes_max.
using Call = std::function<awaitable<Result<http::Response>>(std::string url, http::Request)>;

/// A challenge while it is shown; gone when this is.
class Shown {
 public:
  Shown() = default;
  explicit Shown(std::function<void()> hide) : hide_(std::move(hide)) {}
  Shown(Shown&& other) noexcept : hide_(std::exchange(other.hide_, nullptr)) {}
  Shown& operator=(Shown&&) = delete;
  ~Shown() {
    if (hide_) hide_();
  }

 private:
  std::function<void()> hide_;
};

/// What the authority will look for.
struct Proof {
  std::string type;  // of the challenge
  std::string host;
  std::string token;
  std::string key_authorization;
};
using Show = std::function<awaitable<Result<Shown>>(Proof)>;

struct Issued {
  http::Certificate certificate;
  std::string chain;  // PEM, the host's own first
  std::string key;    // PEM
};

class Session {
 public:
  struct Options {
    std::string directory;
    std::string email;  // may be empty
    bool agrees_to_terms = false;
    struct ExternalAccount {  // RFC 8555 7.3.4
      std::string id;         // empty: none
      std::string key;        // the bytes
    } external_account{};
    milliseconds poll_first{1'000};  // doubled up to poll_max where the server does not say
    milliseconds poll_max{15'000};
    milliseconds poll_limit{5 * 60'000};  // for a validation, and for the certificate
  };
  /// `account` is the URL of an earlier session, or empty.
  Session(Clock& clock, Call call, Options options, AccountKey key, std::string account);

  /// Where the server has our account, once it is known.
  const std::string& account() const { return account_; }

  /// A certificate for `host` by a challenge of type `by`. An authorization that is still good needs none. A nonce that
  /// is refused is replaced, up to nonce_tries times a request; an account that the server no longer knows is made
  /// anew, once.
  awaitable<Outcome<Issued>> issue(std::string host, std::string by, Show show);

  static constexpr int nonce_tries = 12;

 private:
  struct Answer {
    http::Response response;
    std::optional<seconds> retry_after;
    std::string location;
  };
  /// Empty payload: POST-as-GET (RFC 8555 6.3).
  awaitable<Outcome<Answer>> post(std::string url, std::string payload);
  awaitable<Outcome<Answer>> exchange(std::string url, http::Request request);
  awaitable<Outcome<std::string>> nonce();
  awaitable<Outcome<void>> learn_directory();
  awaitable<Outcome<void>> enter_account();
  awaitable<Outcome<Issued>> order_certificate(const std::string& host, const std::string& by, const Show& show);
  awaitable<Outcome<void>> prove(const std::string& url, const std::string& host, const std::string& by,
                                 const Show& show);
  awaitable<Outcome<void>> await_validation(const std::string& url, const std::string& type);
  awaitable<Outcome<Order>> await_order(std::string url, Status wanted);
  awaitable<Outcome<Issued>> download(const std::string& url, const std::string& host, std::string key);
  std::string header(const std::string& url, const std::string& nonce) const;

  /// How long until the next look.
  class Pace;

  Clock& clock_;
  Call call_;
  Options options_;
  AccountKey key_;
  std::string account_;
  std::optional<Directory> directory_;
  std::string nonce_;  // of the last answer, not used yet
};

}  // namespace wick::app::acme
