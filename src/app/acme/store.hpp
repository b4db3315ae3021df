// What must survive of ACME: the account, the certificates with their keys, and which attempts failed. One folder an
// authority, so that a test directory and the real one are never mixed up:
//
//   FOLDER/acme-v02.api.letsencrypt.org-1a2b3c4d/account.key     PKCS#8
//                                                account.url     once the authority has told it
//                                                NAME.pem        key and chain, one file: never one without the other
//                                                NAME.attempts   what failed, for the time after a restart
//
// All of it 0600, written beside and renamed, synced. Its functions block.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "app/acme/key.hpp"
#include "wick/base/time.hpp"
#include "wick/http/tls.hpp"

namespace wick::app::acme {

struct Attempts {
  int failures = 0;       // in a row
  WallTime not_before{};  // of the next
  std::string by;         // the challenge to try then; empty: the first
  std::string problem;    // of the last

  bool operator==(const Attempts&) const = default;
};

class Store {
 public:
  /// Errors: io.
  static Result<Store> open(const std::filesystem::path& folder, const std::string& directory);

  /// Made on the first call. Errors: io, invalid (somebody damaged it; says what to do).
  Result<AccountKey> account_key() const;
  /// Empty: not registered yet.
  std::string account() const;
  Result<void> keep_account(const std::string& url) const;

  /// nullopt: none is kept, or it is damaged (which is logged).
  std::optional<http::Certificate> certificate(const std::string& host) const;
  Result<void> keep_certificate(const std::string& host, const std::string& chain, const std::string& key) const;

  Attempts attempts(const std::string& host) const;
  /// None: removes what is kept.
  Result<void> keep_attempts(const std::string& host, const Attempts& attempts) const;

  const std::filesystem::path& folder() const { return folder_; }

 private:
  explicit Store(std::filesystem::path folder) : folder_(std::move(folder)) {}
  std::filesystem::path file_of(const std::string& host, std::string_view ending) const;
  std::filesystem::path folder_;
};

}  // namespace wick::app::acme
