// What authorities look for here while they validate a name: a file by HTTP-01 (RFC 8555 8.3), a certificate by
// TLS-ALPN-01 (RFC 8737), a record that a program of the box's owner sets by DNS-01 (RFC 8555 8.4).
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "app/acme/session.hpp"
#include "wick/http/handler.hpp"
#include "wick/os/task_group.hpp"

namespace wick::app::acme {

class Challenges {
 public:
  /// For TlsServer::show_challenges.
  using ShowCertificates = std::function<void(std::map<std::string, http::Certificate, std::less<>>)>;

  /// `hook` is called as lego's exec provider is: `HOOK present|cleanup _acme-challenge.NAME. VALUE`; it returns once
  /// the record can be seen. Empty: no DNS-01.
  Challenges(Executor executor, Clock& clock, ShowCertificates show_certificates, std::string hook);

  /// Shown until what it gives is destroyed. Errors: unsupported (the type), those of the hook.
  awaitable<Result<Shown>> show(Proof proof);
  /// Ends the hooks that still clean up.
  awaitable<void> stop();

  /// `inner`, but what authorities ask for is answered before it is routed, in clear and over TLS. For any loop.
  http::Handler answering(http::Handler inner);

 private:
  std::optional<std::string> find(const http::RequestHead& head) const;
  awaitable<Result<Shown>> show_record(Proof proof);
  awaitable<Result<void>> run_hook(std::string verb, std::string name, std::string value);
  awaitable<void> clean_up(std::string name, std::string value);

  Executor executor_;
  Clock& clock_;
  ShowCertificates show_certificates_;
  std::string hook_;
  std::map<std::string, http::Certificate, std::less<>> certificates_;  // by host
  std::atomic<bool> any_file_ = false;
  mutable std::mutex lock_;  // taken only while something is shown
  struct File {
    std::string host, key_authorization;
  };
  std::map<std::string, File, std::less<>> files_;  // by token
  TaskGroup tasks_;
};

}  // namespace wick::app::acme
