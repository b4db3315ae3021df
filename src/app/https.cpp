#include "app/https.hpp"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>

#include "wick/base/log.hpp"
#include "wick/base/text.hpp"
#include "wick/os/files.hpp"

namespace wick::app {

namespace fs = std::filesystem;

namespace {

constexpr std::size_t pem_bytes_max = 256 << 10;
constexpr auto look_interval = std::chrono::seconds(2);
constexpr int own_days = 90;
constexpr auto own_renewal = std::chrono::hours(24 * 60);  // at two thirds of its life

bool is_chain(const fs::path& file) { return file.extension() == ".crt" || file.extension() == ".pem"; }

std::vector<fs::path> files_of(const fs::path& folder) {
  std::vector<fs::path> files;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error))
    if (is_chain(entry.path()) || entry.path().extension() == ".key") files.push_back(entry.path());
  std::ranges::sort(files);
  return files;
}

/// Changes with every file in the folder that is written, replaced or removed.
std::string state_of(const fs::path& folder) {
  std::string state;
  for (const auto& file : files_of(folder)) {
    struct stat told{};
    if (::stat(file.c_str(), &told) < 0) continue;
    state += fmt::format("{} {} {} {}.{}\n", file.string(), told.st_ino, told.st_size, told.st_mtim.tv_sec,
                         told.st_mtim.tv_nsec);
  }
  return state;
}

Result<http::Certificate> read_pair(const fs::path& chain_file) {
  auto chain = read_file(chain_file, pem_bytes_max);
  if (!chain) return fail(std::move(chain.error()));
  auto key_file = chain_file;
  key_file.replace_extension(".key");
  auto key = read_file(key_file, pem_bytes_max);
  if (!key)
    return fail(
        std::move(key.error()).hint(fmt::format("{} must be readable by the user wick runs as", key_file.string())));
  auto certificate = http::Certificate::parse(*chain, *key);
  if (!certificate) return fail(std::move(certificate.error()).within(chain_file.string()));
  return certificate;
}

Result<http::LocalAuthority> open_authority(const fs::path& folder, WallTime now) {
  if (auto made = make_folders(folder, 0700); !made) return fail(std::move(made.error()));
  const auto certificate_file = folder / "authority.crt";
  const auto key_file = folder / "authority.key";
  auto certificate = read_file(certificate_file, pem_bytes_max);
  if (certificate) {
    auto key = read_file(key_file, pem_bytes_max);
    auto authority = key ? http::LocalAuthority::parse(*certificate, *key) : fail(std::move(key.error()));
    if (authority) return authority;
    return fail(std::move(authority.error())
                    .within(certificate_file.string())
                    .hint(fmt::format("remove {} to get a new authority, which clients must then trust anew",
                                      certificate_file.string())));
  }
  if (certificate.error().code() != Errc::not_found) return fail(std::move(certificate.error()));
  auto authority = http::LocalAuthority::create(now);
  if (!authority) return authority;
  // The certificate last: where it is, the key is too.
  if (auto kept = write_file_atomically(key_file, authority->key(), 0600); !kept) return fail(std::move(kept.error()));
  if (auto kept = write_file_atomically(certificate_file, authority->certificate(), 0644); !kept)
    return fail(std::move(kept.error()));
  return authority;
}

/// "*.example.com" for "a.example.com"; empty for a name of one label.
std::string wildcard_over(const std::string& host) {
  const auto dot = host.find('.');
  return dot == std::string::npos ? std::string() : "*" + host.substr(dot);
}

awaitable<void> point_to_https(http::Exchange& exchange, std::uint16_t port) {
  const auto& head = exchange.head();
  const auto location = port == 443 ? fmt::format("https://{}{}", head.host(), head.target)
                                    : fmt::format("https://{}:{}{}", head.host(), port, head.target);
  co_await exchange.respond({.status = 301, .fields = {{"Location", location}}});
}

awaitable<void> refuse_client(http::Exchange& exchange, int status, std::string why) {
  const Error error(Errc::denied, std::move(why));
  co_await http::respond_error(exchange, status, error);
}

}  // namespace

CertificateFolder read_certificates(const fs::path& folder) {
  CertificateFolder read;
  for (const auto& file : files_of(folder)) {
    if (!is_chain(file)) continue;
    auto certificate = read_pair(file);
    if (certificate)
      read.certificates.push_back(std::move(*certificate));
    else
      read.problems.push_back(std::move(certificate.error()));
  }
  return read;
}

Https::Https(Clock& clock, Places places, std::uint16_t port, http::LocalAuthority authority,
             std::shared_ptr<http::TlsServer> edge, std::shared_ptr<http::TlsServer> api)
    : clock_(clock),
      places_(std::move(places)),
      port_(port),
      authority_(std::move(authority)),
      edge_(std::move(edge)),
      api_(std::move(api)) {}

Result<std::unique_ptr<Https>> Https::open(Clock& clock, Places places, std::uint16_t port) {
  auto authority = open_authority(places.own, clock.wall());
  if (!authority) return fail(std::move(authority.error()));
  auto edge = http::TlsServer::make();
  if (!edge) return fail(std::move(edge.error()));
  auto api = http::TlsServer::make();
  if (!api) return fail(std::move(api.error()));
  std::unique_ptr<Https> https(
      new Https(clock, std::move(places), port, std::move(*authority), std::move(*edge), std::move(*api)));
  if (auto shown = https->show_api(); !shown) return fail(std::move(shown.error()));
  https->refresh();
  return https;
}

Result<void> Https::show_api() {
  auto certificate = authority_.issue({"localhost", "127.0.0.1", "::1"}, clock_.wall(), own_days);
  if (!certificate) return fail(std::move(certificate.error()));
  api_renewal_ = clock_.wall() + own_renewal;
  api_->show({}, {std::move(*certificate)});
  return {};
}

void Https::show(control::HttpsHosts hosts) {
  {
    const std::lock_guard lock(redirected_lock_);
    redirected_ = hosts.redirected;
    any_redirected_.store(!redirected_.empty(), std::memory_order_release);
  }
  hosts_ = std::move(hosts);
  show_edge();
  tell();
}

/// The handshake asks, and each request is checked: its Host may be another name than the one it shook hands for.
void Https::show_clients(const control::ClientHosts& hosts) {
  std::map<std::string, http::ClientAuthorities, std::less<>> asked;
  std::map<std::string, Wanted, std::less<>> wanted;
  for (const auto& [host, authorities] : hosts) {
    if (authorities) asked.emplace(host, *authorities);
    wanted.emplace(host, authorities ? Wanted{.authorities = authorities->id(), .problem = {}}
                                     : Wanted{.authorities = {}, .problem = authorities.error().what()});
  }
  http::require_clients(*edge_, std::move(asked));
  const std::lock_guard lock(clients_lock_);
  clients_ = std::move(wanted);
  any_client_.store(!clients_.empty(), std::memory_order_release);
}

/// What a client without the right certificate is told; nullopt: it may pass.
std::optional<std::string> Https::refusal_of(http::Exchange& exchange, int& status) const {
  const std::lock_guard lock(clients_lock_);
  auto host = exchange.head().host();
  if (host.ends_with('.')) host.remove_suffix(1);  // as it is routed
  const auto wanted = clients_.find(host);
  if (wanted == clients_.end()) return std::nullopt;
  const auto& [authorities, problem] = wanted->second;
  if (authorities.empty()) {
    status = 503;
    return "nobody can be let in: " + problem;
  }
  if (!exchange.secure()) {
    status = 403;
    return "this name is spoken to over https, with a certificate of the client's";
  }
  const auto client = http::verified_client(exchange);
  if (client && client->authorities == authorities) return std::nullopt;
  status = 421;
  return "this connection was not begun with a certificate for this name; begin another";
}

http::Handler Https::requiring_clients(http::Handler inner) {
  return [this, inner = std::move(inner)](http::Exchange& exchange) -> awaitable<void> {
    if (!any_client_.load(std::memory_order_acquire)) return inner(exchange);
    int status = 0;
    auto refusal = refusal_of(exchange, status);
    return refusal ? refuse_client(exchange, status, std::move(*refusal)) : inner(exchange);
  };
}

void Https::show_issued(std::map<std::string, http::Certificate, std::less<>> certificates) {
  issued_ = std::move(certificates);
  show_edge();
}

void Https::show_challenges(std::map<std::string, http::Certificate, std::less<>> challenges) {
  edge_->show_challenges(std::move(challenges));
}

void Https::tell_uncertified(std::function<void(std::map<std::string, std::string>)> told) {
  told_ = std::move(told);
  tell();
}

bool Https::needs_certificate(const std::string& host) const {
  if (host == "localhost" || host.ends_with(".localhost")) return false;
  return std::ranges::none_of(folder_.certificates, [&](const auto& known) { return known.covers(host); });
}

void Https::tell() {
  if (!told_) return;
  auto uncertified = hosts_.uncertified;
  std::erase_if(uncertified, [this](const auto& entry) { return !needs_certificate(entry.first); });
  told_(std::move(uncertified));
}

void Https::refresh() {
  const auto now = clock_.wall();
  if (now >= api_renewal_)
    if (auto shown = show_api(); !shown)
      log::warn("the API's certificate was not renewed", {{"error", shown.error().what()}});
  const bool due = std::erase_if(own_, [now](const auto& own) { return now >= own.second.renewal; }) > 0;
  auto state = state_of(places_.certificates);
  if (!due && state == folder_state_) return;
  if (state != folder_state_) {
    folder_state_ = std::move(state);
    folder_ = read_certificates(places_.certificates);
    for (const auto& problem : folder_.problems)
      log::warn("a certificate is not used", {{"error", problem.what()}, {"hint", problem.hint()}});
    for (const auto& certificate : folder_.certificates)
      log::info("certificate", {{"names", fmt::format("{}", fmt::join(certificate.names(), ", "))},
                                {"until", to_rfc3339(certificate.not_after())}});
  }
  show_edge();
  tell();
}

awaitable<void> Https::keep_fresh() {
  while (true) {
    co_await clock_.sleep(look_interval);
    refresh();
  }
}

/// One certificate for all names beside it: "*.default.example.com". nullptr where none can be made.
const http::Certificate* Https::own_certificate(const std::string& host) {
  const auto wildcard = wildcard_over(host);
  if (wildcard.empty()) return nullptr;
  // Clients take no wildcard for a whole top-level domain.
  const auto name = std::string_view(wildcard).substr(2).contains('.') ? wildcard : host;
  auto found = own_.find(name);
  if (found == own_.end()) {
    auto certificate = authority_.issue({name}, clock_.wall(), own_days);
    if (!certificate) {
      log::warn("no certificate for a name", {{"host", host}, {"error", certificate.error().what()}});
      return nullptr;
    }
    found = own_.emplace(name, Own{std::move(*certificate), clock_.wall() + own_renewal}).first;
  }
  return &found->second.certificate;
}

void Https::show_edge() {
  if (port_ == 0) return;
  std::vector<http::Certificate> others = folder_.certificates;
  auto of_hosts = hosts_.certificates;
  of_hosts.insert(issued_.begin(), issued_.end());
  std::set<std::string, std::less<>> covered;  // there may be as many certificates as services
  const auto cover = [&covered](const http::Certificate& certificate) {
    covered.insert(certificate.names().begin(), certificate.names().end());
  };
  std::ranges::for_each(others, cover);
  for (const auto& host : hosts_.outside) {
    if (of_hosts.contains(host) || covered.contains(host) || covered.contains(wildcard_over(host))) continue;
    const auto* own = own_certificate(host);
    if (!own) continue;
    others.push_back(*own);
    cover(*own);
  }
  edge_->show(std::move(of_hosts), std::move(others));
}

bool Https::redirects(std::string_view host) const {
  if (!any_redirected_.load(std::memory_order_acquire)) return false;
  const std::lock_guard lock(redirected_lock_);
  return redirected_.contains(host);
}

http::Handler Https::redirecting(http::Handler inner) {
  return [this, inner = std::move(inner)](http::Exchange& exchange) -> awaitable<void> {
    if (exchange.secure() || !redirects(exchange.head().host())) return inner(exchange);
    if (exchange.from_trusted_proxy() && exchange.head().fields.find("X-Forwarded-Proto") == "https")
      return inner(exchange);
    return point_to_https(exchange, port_);
  };
}

}  // namespace wick::app
