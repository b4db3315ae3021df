#include "app/acme/store.hpp"

#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include <fmt/format.h>

#include "wick/base/log.hpp"
#include "wick/base/text.hpp"
#include "wick/os/files.hpp"

namespace wick::app::acme {

namespace fs = std::filesystem;
namespace json = boost::json;

namespace {

constexpr std::size_t kept_bytes_max = 512 << 10;
constexpr mode_t owner_only = 0600;
constexpr std::size_t host_bytes_max = 200;  // a name may have 253, a file's with its ending 255

std::string short_hash(std::string_view text) { return to_hex(sha256(text)).substr(0, 8); }

/// "acme.example.org" of "https://acme.example.org:14000/dir", fit for a file's name.
std::string authority_of(std::string_view directory) {
  if (const auto scheme = directory.find("://"); scheme != std::string_view::npos) directory.remove_prefix(scheme + 3);
  std::string name(directory.substr(0, directory.find_first_of(":/?#")));
  return is_dns_subdomain(name) && name.size() <= host_bytes_max ? name : "authority";
}

std::string text_in(const json::object& object, std::string_view name) {
  const auto* value = object.if_contains(name);
  return value && value->is_string() ? std::string(value->get_string()) : std::string();
}

}  // namespace

Result<Store> Store::open(const fs::path& folder, const std::string& directory) {
  auto own = folder / fmt::format("{}-{}", authority_of(directory), short_hash(directory));
  if (auto made = make_folders(own, 0700); !made) return fail(std::move(made.error()));
  return Store(std::move(own));
}

fs::path Store::file_of(const std::string& host, std::string_view ending) const {
  const auto name = host.size() <= host_bytes_max ? host : host.substr(0, host_bytes_max) + "-" + short_hash(host);
  return folder_ / fmt::format("{}.{}", name, ending);
}

Result<AccountKey> Store::account_key() const {
  const auto file = folder_ / "account.key";
  auto pem = read_file(file, kept_bytes_max);
  if (pem) {
    auto key = AccountKey::parse(*pem);
    if (key) return key;
    return fail(std::move(key.error()).within(file.string()).hint("remove it to get a new account"));
  }
  if (pem.error().code() != Errc::not_found) return fail(std::move(pem.error()));
  auto key = AccountKey::create();
  if (!key) return key;
  if (auto kept = write_file_atomically(file, key->pem(), owner_only); !kept) return fail(std::move(kept.error()));
  // It was of another key.
  std::error_code gone;
  fs::remove(folder_ / "account.url", gone);
  return key;
}

std::string Store::account() const {
  const auto url = read_file(folder_ / "account.url", kept_bytes_max);
  return url && url->starts_with("https://") ? std::string(trim(*url)) : std::string();
}

Result<void> Store::keep_account(const std::string& url) const {
  return write_file_atomically(folder_ / "account.url", url + "\n", owner_only);
}

std::optional<http::Certificate> Store::certificate(const std::string& host) const {
  const auto file = file_of(host, "pem");
  auto pem = read_file(file, kept_bytes_max);
  if (!pem && pem.error().code() == Errc::not_found) return std::nullopt;
  auto certificate = pem ? http::Certificate::parse(*pem, *pem) : fail(std::move(pem.error()));
  if (certificate && certificate->covers(host)) return std::move(*certificate);
  log::warn("a kept certificate is of no use, another is asked for",
            {{"file", file.string()},
             {"error", certificate ? std::string("it is for other names") : certificate.error().what()}});
  return std::nullopt;
}

Result<void> Store::keep_certificate(const std::string& host, const std::string& chain, const std::string& key) const {
  return write_file_atomically(file_of(host, "pem"), key + chain, owner_only);
}

Attempts Store::attempts(const std::string& host) const {
  const auto text = read_file(file_of(host, "attempts"), kept_bytes_max);
  if (!text) return {};
  boost::system::error_code error;
  const auto value = json::parse(*text, error);
  if (error || !value.is_object()) return {};
  const auto& object = value.get_object();
  const auto failures = parse_unsigned(text_in(object, "failures"));
  const auto not_before = parse_rfc3339(text_in(object, "notBefore"));
  if (!failures || !not_before) return {};
  return {.failures = static_cast<int>(std::min<std::uint64_t>(*failures, 1000)),
          .not_before = *not_before,
          .by = text_in(object, "by"),
          .problem = text_in(object, "problem")};
}

Result<void> Store::keep_attempts(const std::string& host, const Attempts& attempts) const {
  const auto file = file_of(host, "attempts");
  if (attempts.failures == 0) {
    std::error_code error;
    fs::remove(file, error);
    if (error) return fail(system_error("remove " + file.string(), error.value()));
    return {};
  }
  const json::object object{{"failures", std::to_string(attempts.failures)},
                            {"notBefore", to_rfc3339(attempts.not_before)},
                            {"by", attempts.by},
                            {"problem", attempts.problem}};
  return write_file_atomically(file, json::serialize(object), owner_only);
}

}  // namespace wick::app::acme
