// ACME with the settings of `wick serve`, and what it says in the control plane's words.
#pragma once

#include <filesystem>
#include <memory>

#include "app/acme/acme.hpp"
#include "app/config.hpp"
#include "wick/api/api.hpp"
#include "wick/control/control.hpp"

namespace wick::app {

/// Errors: those of Acme::open.
Result<std::unique_ptr<acme::Acme>> open_acme(const AcmeSettings& settings, const std::filesystem::path& folder,
                                              acme::AcmeDoors doors);

/// `needed`: the issuer is about to be told of the name, if it has not been.
control::IssuedCertificate told(const acme::Issuer& issuer, const std::string& host, bool needed);

/// A line of `wick doctor`: how many there are, and which do not come.
api::Check check_certificates(const acme::Issuer& issuer);

}  // namespace wick::app
