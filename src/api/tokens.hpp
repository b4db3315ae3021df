// Bearer tokens: random, shown once, kept as a hash.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "wick/base/error.hpp"
#include "wick/base/time.hpp"
#include "wick/store/database.hpp"

namespace wick::api {

/// What a caller may do; each includes the ones before it.
enum class Scope {
  none,    // only what says whether the daemon is up
  read,    // everything but the values of Secrets
  deploy,  // workloads, events, Secrets and ConfigMaps; exec
  admin,   // namespaces, tokens, the audit trail
};
std::string_view to_string(Scope scope);
Result<Scope> parse_scope(std::string_view text);

struct Token {
  std::string id;    // public: names it in lists and in the audit trail
  std::string name;  // what its maker called it
  Scope scope = Scope::read;
  std::string name_space;  // empty: all
  WallTime created{};
  std::optional<WallTime> expires;
  std::string hash;  // SHA-256 of the secret, hex
};

/// All calls on the loop.
class Tokens {
 public:
  static constexpr std::size_t tokens_max = 1'000;

  static std::string_view migration();
  /// `database` was opened with the migration and outlives it. Errors: of the database.
  static Result<std::unique_ptr<Tokens>> open(store::Database& database);

  struct Made {
    Token token;
    std::string secret;  // "wick_<id>_<64 hex>": nobody can ask for it again
  };
  /// Errors: invalid (name, namespace), overloaded past tokens_max.
  awaitable<Result<Made>> create(Token wanted, WallTime now);
  /// Errors: not_found.
  awaitable<Result<void>> revoke(std::string id);
  std::vector<Token> list() const;
  /// The token a bearer shows, if it is one of ours and has not expired; takes the same time for every wrong secret.
  const Token* check(std::string_view bearer, WallTime now) const;

 private:
  explicit Tokens(store::Database& database) : database_(database) {}

  store::Database& database_;
  std::map<std::string, Token, std::less<>> tokens_;
};

}  // namespace wick::api
