// WebhookSource (sources.wick.dev): kept, checked and defaulted. Knative's GitHubSource and GitLabSource ask the forge
// for a webhook with a token of the user's; this one is told to the forge by the user, so it needs no right there.
#include <fmt/format.h>

#include <algorithm>

#include "model/kinds.hpp"
#include "model/schema.hpp"
#include "wick/base/text.hpp"
#include "wick/model/metadata.hpp"
#include "wick/model/object_reader.hpp"

namespace wick::model {

namespace {

constexpr std::size_t event_name_bytes_max = 100;

json::object webhook_source_schema() {
  return resource_outline(join_outlines({R"(
spec
  provider                   | github, gitlab, gitea, or generic: anything that signs with HMAC-SHA-256.
  events[]                   | Which are taken, as the forge names them (push, pull_request, …); all where none is given.
  secret
    ref
      name                   | A Secret whose key "secret" is what deliveries are signed with.
)",
                                         sink_lines, source_status_lines, "\n  path\n"}),
                          "Turns the deliveries of webhooks into events.");
}

void default_webhook_source(json::object& object) {
  default_sink(object);
  if (auto* spec = object_if(object, {"spec"}))
    if (auto& provider = (*spec)["provider"]; provider.is_null() || provider == "") provider = "generic";
}

void check_webhook_source(const json::object& object, const json::object*, FieldErrors& errors) {
  ObjectReader root(object, errors);
  const auto metadata = decode_metadata(root.object("metadata"));
  check_name_dns1123(metadata, errors);
  auto spec = root.object("spec");
  constexpr std::string_view providers[] = {"github", "gitlab", "gitea", "generic"};
  if (const auto provider = spec.text("provider"); std::ranges::find(providers, provider) == std::end(providers))
    errors.invalid_value(printable(provider), spec.path("provider"), "github, gitlab, gitea or generic");
  for (const auto& event : spec.texts("events"))
    if (event.empty() || event.size() > event_name_bytes_max)
      errors.invalid_value(printable(event, 40), spec.path("events"));
  auto secret = spec.object("secret"), ref = secret.object("ref");
  if (ref.text("name").empty()) errors.missing("spec.secret.ref.name");
  ref.refuse_rest();
  secret.refuse_rest();
  check_source(spec, metadata.name_space);
}

}  // namespace

std::vector<Kind> webhook_kinds() {
  return {{.group = "sources.wick.dev",
           .version = "v1alpha1",
           .kind = "WebhookSource",
           .plural = "webhooksources",
           .singular = "webhooksource",
           .categories = {"all", "sources"},
           .columns = {{"Sink", "string", ".status.sinkUri"},
                       {"Path", "string", ".status.path"},
                       age_column,
                       ready_column,
                       reason_column},
           .ducks = {"duck.knative.dev/source"},
           .webhook = "webhook.eventing.wick.dev",
           .schema = webhook_source_schema,
           .defaults = default_webhook_source,
           .check = check_webhook_source}};
}

}  // namespace wick::model
