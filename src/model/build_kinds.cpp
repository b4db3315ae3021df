// shipwright.io: Build, BuildRun and the strategies as rows of the table.
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include "model/immutable.hpp"
#include "model/kinds.hpp"
#include "model/schema.hpp"
#include "wick/base/text.hpp"
#include "wick/model/admission.hpp"
#include "wick/model/build.hpp"
#include "wick/model/preview.hpp"

namespace wick::model {

namespace {

json::object build_schema() {
  return resource_outline(R"(
spec @build
status
  @conditions
  registered
  reason
  message
  commit                     | What wick.dev/follow saw and acted upon last.
)",
                          "How an image is made from source.");
}

json::object build_run_schema() {
  return resource_outline(R"(
spec
  build                      | The Build to run, by name or inline.
    name
    spec @build
  source any
  serviceAccount
  timeout                    | 30m where none is given.
  paramValues any
  output
    image
    pushSecret
    insecure bool
    labels map
    annotations map
    timestamp
  state                      | BuildRunCanceled ends it.
  env any
  retention any
  volumes any
status any
)",
                          "One run of a Build.");
}

json::object strategy_schema() {
  return resource_outline(R"(
spec
  steps[] any                | What a run would do, step by step.
  parameters any
  securityContext any
  volumes any
status any
)",
                          "A way to build images. The one that runs here is built in and called wick.");
}

void check_deploy_annotation(const Metadata& metadata, FieldErrors& errors) {
  const auto text = metadata.annotation(names::deploy);
  if (text.empty()) return;
  const auto path = field_path("metadata.annotations", names::deploy);
  boost::system::error_code error;
  auto manifest = json::parse(text, error);
  if (error || !manifest.is_object()) {
    errors.invalid_value(printable(text, 40), path, "expected a Service manifest as JSON");
    return;
  }
  auto& service = manifest.get_object();
  if (text_at(service, {"kind"}) != "Service" || text_at(service, {"apiVersion"}) != service_kind().api_version()) {
    errors.invalid_value(printable(text_at(service, {"kind"})), path, "expected a serving.knative.dev/v1 Service");
    return;
  }
  object_at(service, {"metadata"})["namespace"] = metadata.name_space;
  set_first_image(service, "built.image/placeholder");
  apply_defaults(service_kind(), service);
  if (const auto complaint = validate(service_kind(), service, nullptr); !complaint.empty())
    errors.invalid_value("the Service manifest", path, complaint);
}

void check_preview_annotation(const Metadata& metadata, FieldErrors& errors) {
  const auto text = metadata.annotation(names::preview);
  if (text.empty()) return;
  const auto path = field_path("metadata.annotations", names::preview);
  if (!metadata.annotation(names::deploy).empty())
    errors.add("expected exactly one, got both", {path, field_path("metadata.annotations", names::deploy)});
  if (const auto order = parse_preview_order(text); !order)
    errors.invalid_value(printable(text, 40), path, order.error().what());
}

void check_build(const json::object& object, const json::object*, FieldErrors& errors) {
  ObjectReader root(object, errors);
  check_name_dns1123(decode_metadata(root.object("metadata")), errors);
  decode_build_spec(root.object("spec"));
}

void check_build_run(const json::object& object, const json::object* old, FieldErrors& errors) {
  const auto run = decode_build_run(object, errors);
  check_name_dns1123(run.metadata, errors);
  check_deploy_annotation(run.metadata, errors);
  check_preview_annotation(run.metadata, errors);
  if (old) check_immutable(object, *old, {"spec", "build"}, "spec.build", errors);
}

void check_strategy(const json::object& object, const json::object*, FieldErrors& errors) {
  ObjectReader root(object, errors);
  check_name_dns1123(decode_metadata(root.object("metadata")), errors);
  auto spec = root.object("spec");
  auto steps = spec.objects("steps");
  if (steps.empty()) errors.missing(spec.path("steps"));
  for (auto& step : steps)
    if (step.text("name").empty()) errors.missing(step.path("name"));
}

Kind build_row(std::string_view kind, std::string_view plural, std::string_view singular) {
  return {.group = "shipwright.io",
          .version = "v1beta1",
          .kind = kind,
          .plural = plural,
          .singular = singular,
          .webhook = "webhook.shipwright.io"};
}

}  // namespace

std::vector<Kind> build_kinds() {
  auto build = build_row("Build", "builds", "build");
  build.columns = {{"Registered", "string", ".status.registered"},
                   {"Reason", "string", ".status.reason"},
                   {"BuildStrategyKind", "string", ".spec.strategy.kind"},
                   {"BuildStrategyName", "string", ".spec.strategy.name"},
                   {"CreationTime", "date", ".metadata.creationTimestamp"}};
  build.schema = build_schema;
  build.check = check_build;
  auto run = build_row("BuildRun", "buildruns", "buildrun");
  run.short_names = {"br"};
  run.columns = {{"Succeeded", "string", ".status.conditions[?(@.type=='Succeeded')].status"},
                 {"Reason", "string", ".status.conditions[?(@.type=='Succeeded')].reason"},
                 {"StartTime", "date", ".status.startTime"},
                 {"CompletionTime", "date", ".status.completionTime"}};
  run.schema = build_run_schema;
  run.check = check_build_run;
  auto strategy = build_row("BuildStrategy", "buildstrategies", "buildstrategy");
  strategy.short_names = {"bs"};
  strategy.schema = strategy_schema;
  strategy.check = check_strategy;
  return {std::move(build), std::move(run), std::move(strategy)};
}

}  // namespace wick::model
