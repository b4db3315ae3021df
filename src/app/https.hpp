// What the box shows over TLS: certificates from a folder, from the Secrets of domain mappings, and for every other
// name of a service from an authority of its own. They are looked at again while the daemon runs.
#pragma once

#include <atomic>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "wick/control/control.hpp"
#include "wick/http/handler.hpp"
#include "wick/http/server.hpp"
#include "wick/http/tls.hpp"
#include "wick/os/clock.hpp"

namespace wick::app {

/// NAME.crt (or NAME.pem) beside NAME.key, in the order of their names; the first is for clients that ask for none.
/// What cannot be read or used is in `problems`, and the rest goes on.
struct CertificateFolder {
  std::vector<http::Certificate> certificates;
  std::vector<Error> problems;
};
CertificateFolder read_certificates(const std::filesystem::path& folder);

class Https {
 public:
  struct Places {
    std::filesystem::path own;           // the authority's; only the daemon reads it
    std::filesystem::path certificates;  // of the person who runs the box; may be missing
  };
  /// Makes the authority on the first start. `port` is that of the listener, 0 without one. Errors: io, invalid (an
  /// authority that somebody damaged).
  static Result<std::unique_ptr<Https>> open(Clock& clock, Places places, std::uint16_t port);

  /// For the services' listener.
  http::Listening edge() const { return {.tls = edge_, .clear_too = false}; }
  /// For the API's, which has always been spoken to in clear too.
  http::Listening api() const { return {.tls = api_, .clear_too = true}; }
  /// What clients of names without a public certificate must trust, as PEM.
  const std::string& authority() const { return authority_.certificate(); }

  /// The names there are now.
  void show(control::HttpsHosts hosts);
  /// Names that want certificates of their clients.
  void show_clients(const control::ClientHosts& hosts);
  /// Certificates that authorities gave for some of them: for their names before those of the folder.
  void show_issued(std::map<std::string, http::Certificate, std::less<>> certificates);
  /// See TlsServer.
  void show_challenges(std::map<std::string, http::Certificate, std::less<>> challenges);
  /// Nobody else would trust what is shown for this name of a mapping without a Secret, and an authority may know it:
  /// no certificate of the folder is for it.
  bool needs_certificate(const std::string& host) const;
  /// `told` learns which of control::HttpsHosts::uncertified are so, now and whenever that may have changed.
  void tell_uncertified(std::function<void(std::map<std::string, std::string>)> told);
  /// Looks whether files changed, and makes certificates of ours anew in time. To be called every now and then.
  void refresh();
  awaitable<void> keep_fresh();

  /// `inner`, but names that want their clients' certificates answer nobody else: 403 in clear, 421 over a connection
  /// that was not asked for one of their authorities (RFC 9110 15.5.20), 503 while these are not known. For any loop.
  http::Handler requiring_clients(http::Handler inner);
  /// `inner`, but names that are to be redirected answer requests in clear with 301. For any loop.
  http::Handler redirecting(http::Handler inner);

 private:
  Https(Clock& clock, Places places, std::uint16_t port, http::LocalAuthority authority,
        std::shared_ptr<http::TlsServer> edge, std::shared_ptr<http::TlsServer> api);
  Result<void> show_api();
  void show_edge();
  void tell();
  const http::Certificate* own_certificate(const std::string& host);
  bool redirects(std::string_view host) const;
  std::optional<std::string> refusal_of(http::Exchange& exchange, int& status) const;

  Clock& clock_;
  Places places_;
  std::uint16_t port_;
  http::LocalAuthority authority_;
  std::shared_ptr<http::TlsServer> edge_;
  std::shared_ptr<http::TlsServer> api_;
  WallTime api_renewal_{};
  control::HttpsHosts hosts_;
  std::map<std::string, http::Certificate, std::less<>> issued_;
  std::function<void(std::map<std::string, std::string>)> told_;
  CertificateFolder folder_;
  std::string folder_state_;
  struct Own {
    http::Certificate certificate;
    WallTime renewal;
  };
  std::map<std::string, Own> own_;  // by the domain that the wildcard stands below
  std::atomic<bool> any_redirected_ = false;
  mutable std::mutex redirected_lock_;  // taken only where some name is redirected
  std::set<std::string, std::less<>> redirected_;
  std::atomic<bool> any_client_ = false;
  mutable std::mutex clients_lock_;  // taken only where some name wants certificates
  struct Wanted {
    std::string authorities;  // ClientAuthorities::id(); empty: not known, because
    std::string problem;
  };
  std::map<std::string, Wanted, std::less<>> clients_;
};

}  // namespace wick::app
