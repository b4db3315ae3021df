// wick domain: names of one's own for services. A DomainMapping as on a cluster, after a look at where the name leads.
#include <fmt/format.h>

#include "app/cli/read_json.hpp"
#include "app/cli/wiring.hpp"
#include "app/name_lookup.hpp"
#include "wick/base/text.hpp"
#include "wick/base/time.hpp"

namespace wick::app::cli {

namespace {

constexpr WiringKind mapping_wiring{"domain", "serving.knative.dev/v1beta1", "DomainMapping", "domainmappings"};
constexpr auto requested_annotation = "wick.dev/certificate-requested";
constexpr auto wait_limit = std::chrono::minutes(3);  // of one validation and one certificate
constexpr auto look_every = std::chrono::milliseconds(250);

std::string mapping_path(const Session& session, std::string_view name = {}) {
  return resource_path(mapping_wiring.api_version, session.name_space, mapping_wiring.plural, name);
}

std::string secret_of(const std::string& domain) { return domain + "-tls"; }

Outcome<void> check_leads_here(const DomainOptions& options) {
  const auto view = look_up_name(options.name);
  if (leads_here(view)) return {};
  Problem problem{.exit = ExitCode::failed,
                  .what = fmt::format("{} does not point here yet", options.name),
                  .slug = "E_DNS",
                  .because = describe(view),
                  .hint = {}};
  if (view.ours.empty() || is_behind_nat(view))
    problem.hint = fmt::format(
        "set an A record of {} to the address others reach this machine at, then rerun; this machine has no public "
        "address of its own, so the record cannot be checked from here: --no-dns-check",
        options.name);
  else
    problem.hint = fmt::format("set {} of {} to {}, then rerun; or --no-dns-check",
                               view.ours.front().find(':') == std::string::npos ? "an A record" : "an AAAA record",
                               options.name, view.ours.front());
  return stop_with(std::move(problem));
}

/// A person's own certificate as a Secret beside the mapping.
Outcome<void> keep_certificate(Session& session, const DomainOptions& options) {
  auto chain = data_of(session, "@" + options.certificate);
  if (!chain) return stop_with(std::move(chain.error()));
  auto key = data_of(session, "@" + options.key);
  if (!key) return stop_with(std::move(key.error()));
  const auto name = secret_of(options.name);
  const json::object secret{
      {"apiVersion", "v1"},
      {"kind", "Secret"},
      {"metadata", {{"name", name}, {"namespace", session.name_space}, {"labels", {{"wick.dev/domain", "true"}}}}},
      {"type", "kubernetes.io/tls"},
      {"data", {{"tls.crt", base64_encode(*chain)}, {"tls.key", base64_encode(*key)}}}};
  const auto own = resource_path("v1", session.name_space, "secrets", name);
  auto old = session.client.find(own);
  if (!old) return stop_with(std::move(old.error()));
  auto written = *old ? session.client.put(own, secret)
                      : session.client.post(resource_path("v1", session.name_space, "secrets"), secret);
  if (!written) return stop_with(std::move(written.error()).within(fmt::format("secret {} was not set", name)));
  return {};
}

json::object spec_of(const DomainOptions& options) {
  json::object spec{
      {"ref", {{"apiVersion", "serving.knative.dev/v1"}, {"kind", "Service"}, {"name", options.service}}}};
  if (!options.certificate.empty()) spec["tls"] = {{"secretName", secret_of(options.name)}};
  return spec;
}

/// A new mapping, or the old one of the same service once more: its certificate is then tried for at once.
Outcome<json::value> write_mapping(Session& session, const DomainOptions& options, const json::value* old) {
  const json::object annotations{{requested_annotation, to_rfc3339_nano(wall_now())}};
  if (!old) {
    auto mapping = new_object(mapping_wiring, session, options.name, spec_of(options));
    mapping["metadata"].as_object()["annotations"] = annotations;
    return session.client.post(mapping_path(session), std::move(mapping));
  }
  const json::object patch{{"metadata", {{"annotations", annotations}}}, {"spec", spec_of(options)}};
  return session.client.merge_patch(mapping_path(session, options.name), patch);
}

std::string message_of(const json::value& mapping, std::string_view type, std::string_view field = "/message") {
  const auto* found = condition_of(mapping, type);
  return found ? text_at(*found, field) : std::string();
}

/// What still may change by itself.
bool is_under_way(const json::value& mapping, const std::string& old_failure) {
  const auto claimed = message_of(mapping, "DomainClaimed", "/status");
  const auto certificate = message_of(mapping, "CertificateProvisioned", "/status");
  const auto reason = message_of(mapping, "CertificateProvisioned", "/reason");
  if (claimed == "False" || message_of(mapping, "ReferenceResolved", "/status") == "False") return false;
  if (claimed != "True" || certificate == "Unknown" || certificate.empty() || reason == "HTTPDowngrade") return true;
  if (certificate == "False")
    return !old_failure.empty() && message_of(mapping, "CertificateProvisioned") == old_failure;
  return message_of(mapping, "Ready", "/status") == "Unknown";
}

Problem not_ready(const std::string& name, const json::value& mapping) {
  Problem problem{.exit = ExitCode::not_ready, .what = {}, .slug = "E_NOT_READY", .because = {}, .hint = {}};
  for (const auto type : {"DomainClaimed", "ReferenceResolved", "CertificateProvisioned", "Ready"}) {
    if (message_of(mapping, type, "/status") != "False") continue;
    problem.because = message_of(mapping, type);
    if (std::string_view(type) == "CertificateProvisioned") {
      problem.what = fmt::format("there is no certificate for {}", name);
      problem.notes = {"It is served, over https with the box's own certificate."};
      problem.hint = "mend that and run wick domain add again, which asks at once; wick domain ls";
    } else {
      problem.what = fmt::format("domain {} is not ready", name);
      problem.hint = "wick domain ls, wick ps";
    }
    break;
  }
  return problem;
}

Outcome<void> say_mapping(Session& session, const DomainOptions& options, const json::value& mapping) {
  if (session.json) {
    print_document(session, mapping);
    return {};
  }
  session.terminal.say(fmt::format("domain {} → {}", options.name, options.service));
  const auto trouble = message_of(mapping, "CertificateProvisioned");
  if (message_of(mapping, "CertificateProvisioned", "/reason") != "CertificateExternallyProvided" && !trouble.empty())
    session.terminal.say("certificate: " + safe_line(trouble));
  session.terminal.result(text_at(mapping, "/status/url"));
  return {};
}

std::string certificate_column(const json::value& mapping) {
  const auto status = message_of(mapping, "CertificateProvisioned", "/status");
  const auto reason = message_of(mapping, "CertificateProvisioned", "/reason");
  if (reason == "TLSNotEnabled") return "none";
  if (reason == "CertificateExternallyProvided") return "secret";
  if (reason == "HTTPDowngrade" || status == "Unknown" || status.empty()) return "pending";
  return status == "True" ? "issued" : "failed";
}

}  // namespace

Outcome<void> add_domain(Session& session, const DomainOptions& options) {
  if (options.certificate.empty() != options.key.empty())
    return stop_with(usage_problem("--cert and --key come together", "--cert CHAIN.pem --key KEY.pem"));
  if (!is_dns_subdomain(options.name))
    return stop_with(Problem{.exit = ExitCode::usage,
                             .what = fmt::format("'{}' is not a name of DNS", printable(options.name, 80)),
                             .slug = "E_INVALID",
                             .because = "expected labels of a-z, 0-9 and '-', at most 63 characters each, between dots",
                             .hint = "wick domain add shop.example.com SERVICE"});
  auto service = session.client.find(service_path(session.name_space, options.service));
  if (!service) return stop_with(std::move(service.error()));
  if (!*service)
    return stop_with(
        Problem{.exit = ExitCode::not_found,
                .what = fmt::format("there is no service {} in namespace {}", options.service, session.name_space),
                .slug = "E_NOT_FOUND",
                .because = {},
                .hint = "wick ps"});
  auto old = session.client.find(mapping_path(session, options.name));
  if (!old) return stop_with(std::move(old.error()));
  if (*old && text_at(**old, "/spec/ref/name") != options.service)
    return stop_with(
        Problem{.exit = ExitCode::refused,
                .what = fmt::format("domain {} leads to {} {}", options.name,
                                    to_lower(text_at(**old, "/spec/ref/kind")), text_at(**old, "/spec/ref/name")),
                .slug = "E_ALREADY_EXISTS",
                .because = {},
                .hint = fmt::format("wick domain rm {}, then add it again", options.name)});
  if (options.check_dns)
    if (auto checked = check_leads_here(options); !checked) return checked;
  if (!options.certificate.empty())
    if (auto kept = keep_certificate(session, options); !kept) return kept;
  const auto old_failure = *old ? message_of(**old, "CertificateProvisioned") : std::string();
  auto written = write_mapping(session, options, *old ? &**old : nullptr);
  if (!written)
    return stop_with(std::move(written.error()).within(fmt::format("domain {} was not added", options.name)));
  json::value mapping = std::move(*written);
  const auto end = std::chrono::steady_clock::now() + wait_limit;
  while (options.wait && is_under_way(mapping, old_failure) && std::chrono::steady_clock::now() < end) {
    session.terminal.say_for_now(
        fmt::format("domain {}: {}", options.name, safe_line(message_of(mapping, "CertificateProvisioned"))));
    auto again = session.client.pause(look_every);
    auto read = again ? session.client.get(mapping_path(session, options.name)) : stop_with(std::move(again.error()));
    if (!read) {
      auto problem = std::move(read.error());
      if (problem.exit == ExitCode::interrupted) problem.notes.push_back("The daemon goes on: wick domain ls");
      return stop_with(std::move(problem));
    }
    mapping = std::move(*read);
  }
  if (message_of(mapping, "Ready", "/status") == "False" && options.wait)
    return stop_with(not_ready(options.name, mapping));
  return say_mapping(session, options, mapping);
}

Outcome<void> list_domains(Session& session) {
  auto list = list_objects(session, mapping_wiring);
  if (!list) return stop_with(std::move(list.error()));
  std::vector<std::vector<std::string>> rows{{"NAME", "TO", "URL", "CERTIFICATE", "READY", "BECAUSE"}};
  json::array documents;
  for (const auto& mapping : array_at(*list, "/items")) {
    const auto name = text_at(mapping, "/metadata/name"), to = text_at(mapping, "/spec/ref/name");
    const auto url = text_at(mapping, "/status/url"), certificate = certificate_column(mapping);
    auto [status, because] = readiness_of(mapping);
    // Ready over http while the certificate is on its way, or with an old one while the new one does not come.
    if (because.empty() && (certificate == "pending" || certificate == "issued"))
      because = safe_line(message_of(mapping, "CertificateProvisioned"));
    rows.push_back({name, to, url, certificate, status, because});
    documents.push_back({{"name", name},
                         {"to", to},
                         {"url", url},
                         {"certificate", certificate},
                         {"ready", status == "True"},
                         {"because", because}});
  }
  print_list(session, rows, documents, "no domains. hint: wick domain add NAME SERVICE");
  return {};
}

Outcome<void> remove_domain(Session& session, const std::string& name) {
  auto mapping = session.client.find(mapping_path(session, name));
  if (!mapping) return stop_with(std::move(mapping.error()));
  if (auto removed = remove_object(session, {mapping_wiring}, name); !removed) return removed;
  const auto own = resource_path("v1", session.name_space, "secrets", secret_of(name));
  auto secret = session.client.find(own);
  const bool ours = secret && *secret && text_at(**secret, "/metadata/labels/wick.dev~1domain") == "true" && *mapping &&
                    text_at(**mapping, "/spec/tls/secretName") == secret_of(name);
  if (!ours) return {};
  return session.client.remove(own);
}

}  // namespace wick::app::cli
