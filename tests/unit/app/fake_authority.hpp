// An ACME authority for tests (RFC 8555), as a function in place of a connection: it checks every signature, nonce and
// account as a real one does, and fails where a test wants it to.
#pragma once

#include <openssl/x509v3.h>
#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "app/acme/key.hpp"
#include "app/acme/openssl.hpp"
#include "app/acme/session.hpp"
#include "wick/base/text.hpp"

namespace wick::app::acme {

inline std::string from_base64url(std::string text) {
  for (char& c : text) c = c == '-' ? '+' : c == '_' ? '/' : c;
  while (text.size() % 4 != 0) text += '=';
  return base64_decode(text).value();
}

/// Whether `signature` (r and s) is that of the public key with these coordinates.
bool verifies(const std::string& x, const std::string& y, std::string_view bytes, std::string_view signature);

class FakeAuthority {
 public:
  explicit FakeAuthority(Clock& clock);

  /// For Session and Issuer.
  Call call();

  // What it does wrong, or is strict about.
  int bad_nonces = 0;    // of the next requests
  bool down = false;     // nothing answers
  int rate_limited = 0;  // of the next orders, with retry_after
  std::string retry_after = "3600";
  int polls_before_valid = 0;   // of a validation
  int polls_before_issued = 0;  // of an order
  bool authorizations_are_valid = false;
  bool wants_external_account = false;
  std::string external_key;
  bool certificate_is_for_another = false;
  bool answers_nonsense = false;
  bool refuses_finalize = false;
  seconds life = std::chrono::hours(24 * 90);
  int fail_call = 0;  // the n-th call from now ends without an answer; 0: none
  std::set<std::string> offered{"http-01", "tls-alpn-01", "dns-01"};
  /// What the authority sees of the proof; by default that all is well.
  std::function<bool(const std::string& type, const std::string& host, const std::string& authorization)> looks;

  // What it saw.
  int calls = 0, orders = 0, accounts = 0, issued = 0;
  std::vector<std::string> proven_by;
  std::string contact, user_agent, external_account;
  void forget_accounts() { keys_.clear(); }

 private:
  struct Entry {
    std::string host, status = "pending", authorization_status = "pending", tried, chain;
    int polls = 0, issue_polls = 0;
  };
  awaitable<Result<http::Response>> answer(std::string url, http::Request request);
  http::Response respond(int status, const boost::json::value& body, std::string location = {});
  bool is_bound(const boost::json::object& payload, const std::string& jwk);
  http::Response problem(int status, const std::string& type, const std::string& detail);
  http::Response resource(const std::string& path, const boost::json::object& payload, const std::string& account_key);
  http::Response make_order(const boost::json::object& payload);
  http::Response show_order(const std::string& number);
  http::Response show_authorization(const std::string& number);
  http::Response begin_challenge(const std::string& number, const std::string& type, const std::string& account_key);
  http::Response finalize(const std::string& number, const boost::json::object& payload);
  std::string sign(const std::string& csr_der, const std::string& host);

  Clock& clock_;
  Openssl<EVP_PKEY> key_;
  std::set<std::string> nonces_;
  int next_nonce_ = 0;
  std::map<std::string, std::string> keys_;  // JWK by account
  std::map<std::string, Entry> entries_;     // orders by number
};

}  // namespace wick::app::acme
