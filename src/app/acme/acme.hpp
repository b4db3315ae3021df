// ACME as the daemon uses it: the parts of this folder put together.
#pragma once

#include <filesystem>
#include <memory>

#include "app/acme/issuer.hpp"
#include "app/acme/transport.hpp"

namespace wick::app::acme {

struct AcmeOptions {
  std::filesystem::path folder;
  Issuer::Settings issuing;
  std::filesystem::path authority;             // PEM, trusted besides the machine's own; may be empty
  std::filesystem::path external_account_key;  // base64url, one line; with issuing.session.external_account.id
  std::string hook;                            // see Challenges
};

struct AcmeDoors {
  Executor executor;
  Clock& clock;
  WorkerPool& workers;
  Metrics& metrics;
  std::function<void(std::map<std::string, http::Certificate, std::less<>>)> show;
  Challenges::ShowCertificates show_challenges;
  std::function<void(const std::string& host)> changed;
  std::function<std::string(const std::string& host)> look_up;
};

class Acme {
 public:
  /// Errors: io, not_found and denied (files), invalid (the authority is no PEM).
  static Result<std::unique_ptr<Acme>> open(AcmeDoors doors, AcmeOptions options);

  Issuer& issuer() { return issuer_; }
  Challenges& challenges() { return challenges_; }

 private:
  Acme(AcmeDoors doors, AcmeOptions options, std::unique_ptr<Transport> transport, Store store);

  std::unique_ptr<Transport> transport_;
  Challenges challenges_;
  Issuer issuer_;
};

}  // namespace wick::app::acme
