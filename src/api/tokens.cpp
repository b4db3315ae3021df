#include "api/tokens.hpp"

#include <fmt/format.h>
#include "wick/base/digest.hpp"
#include "wick/base/text.hpp"

namespace wick::api {

namespace {

constexpr std::string_view prefix = "wick_";
constexpr std::size_t id_bytes = 6;
constexpr std::size_t secret_bytes = 32;
constexpr std::size_t name_bytes_max = 100;

std::int64_t to_nanos(WallTime time) { return time.time_since_epoch().count(); }
WallTime from_nanos(std::int64_t nanos) { return WallTime(std::chrono::nanoseconds(nanos)); }

}  // namespace

std::string_view to_string(Scope scope) {
  switch (scope) {
    case Scope::none:
      return "none";
    case Scope::read:
      return "read";
    case Scope::deploy:
      return "deploy";
    case Scope::admin:
      break;
  }
  return "admin";
}

Result<Scope> parse_scope(std::string_view text) {
  for (const auto scope : {Scope::read, Scope::deploy, Scope::admin})
    if (text == to_string(scope)) return scope;
  return fail(Errc::invalid, fmt::format("a scope is read, deploy or admin, not '{}'", printable(text)));
}

std::string_view Tokens::migration() {
  return R"(
CREATE TABLE token(
  id TEXT PRIMARY KEY, name TEXT NOT NULL, scope TEXT NOT NULL, namespace TEXT NOT NULL,
  created INTEGER NOT NULL, expires INTEGER, hash TEXT NOT NULL
) STRICT, WITHOUT ROWID;
)";
}

Result<std::unique_ptr<Tokens>> Tokens::open(store::Database& database) {
  std::unique_ptr<Tokens> tokens(new Tokens(database));
  try {
    store::Statement rows(database.reader(), "SELECT id, name, scope, namespace, created, expires, hash FROM token");
    while (rows.step()) {
      auto scope = parse_scope(rows.text(2));
      if (!scope) return fail(std::move(scope.error()).within("token table"));
      Token token{.id = rows.text(0),
                  .name = rows.text(1),
                  .scope = *scope,
                  .name_space = rows.text(3),
                  .created = from_nanos(rows.integer(4)),
                  .expires = rows.is_null(5) ? std::nullopt : std::optional(from_nanos(rows.integer(5))),
                  .hash = rows.text(6)};
      tokens->tokens_.emplace(token.id, std::move(token));
    }
  } catch (const store::DatabaseError& error) {
    return fail(store::to_error(error).within("token table"));
  }
  return tokens;
}

awaitable<Result<Tokens::Made>> Tokens::create(Token wanted, WallTime now) {
  if (wanted.name.empty() || wanted.name.size() > name_bytes_max || printable(wanted.name) != wanted.name)
    co_return fail(Errc::invalid, fmt::format("a token's name has 1 to {} printable bytes", name_bytes_max));
  if (!wanted.name_space.empty() && !is_dns_label(wanted.name_space))
    co_return fail(Errc::invalid, fmt::format("\"{}\" is not a namespace's name", printable(wanted.name_space)));
  if (tokens_.size() >= tokens_max)
    co_return fail(Errc::overloaded, fmt::format("there are {} tokens", tokens_max), "revoke those nobody needs");
  wanted.id = random_hex(id_bytes);
  wanted.created = now;
  const auto secret = random_hex(secret_bytes);
  wanted.hash = Digest::of(secret).hex();
  auto insert = [wanted](sqlite3* connection) {
    store::Statement row(connection, "INSERT INTO token VALUES(?,?,?,?,?,?,?)");
    row.bind(wanted.id).bind(wanted.name).bind(to_string(wanted.scope)).bind(wanted.name_space);
    row.bind(to_nanos(wanted.created));
    if (wanted.expires)
      row.bind(to_nanos(*wanted.expires));
    else
      row.bind_null();
    row.bind(wanted.hash).run();
  };
  auto written = co_await database_.write(std::move(insert));
  if (!written) co_return fail(std::move(written.error()));
  tokens_.emplace(wanted.id, wanted);
  auto bearer = fmt::format("{}{}_{}", prefix, wanted.id, secret);
  co_return Made{std::move(wanted), std::move(bearer)};
}

awaitable<Result<void>> Tokens::revoke(std::string id) {
  if (!tokens_.contains(id)) co_return fail(Errc::not_found, fmt::format("there is no token {}", printable(id)));
  // From here on it is worth nothing, whatever the disk says.
  tokens_.erase(id);
  auto erase = [id](sqlite3* connection) {
    store::Statement row(connection, "DELETE FROM token WHERE id=?");
    row.bind(id).run();
  };
  auto written = co_await database_.write(std::move(erase));
  co_return written;
}

std::vector<Token> Tokens::list() const {
  std::vector<Token> all;
  for (const auto& [id, token] : tokens_) all.push_back(token);
  return all;
}

const Token* Tokens::check(std::string_view bearer, WallTime now) const {
  static const std::string nobody(Digest::size * 2, '0');
  const auto cut = bearer.rfind('_');
  const bool shaped = bearer.starts_with(prefix) && cut != bearer.npos && cut >= prefix.size();
  const auto id = shaped ? bearer.substr(prefix.size(), cut - prefix.size()) : std::string_view();
  const auto found = tokens_.find(id);
  const auto hash = Digest::of(shaped ? bearer.substr(cut + 1) : bearer).hex();
  const auto& wanted = found == tokens_.end() ? nobody : found->second.hash;
  const bool same = same_secret(hash, wanted);
  if (!same || found == tokens_.end()) return nullptr;
  return found->second.expires && *found->second.expires <= now ? nullptr : &found->second;
}

}  // namespace wick::api
