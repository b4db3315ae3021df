// batch/v1 Job: one container run to its end. What a JobSink makes an event into, and of use by itself.
#include <fmt/format.h>

#include "model/immutable.hpp"
#include "model/kinds.hpp"
#include "model/schema.hpp"
#include "wick/base/text.hpp"
#include "wick/model/metadata.hpp"
#include "wick/model/revision.hpp"

namespace wick::model {

namespace {

json::object job_schema() {
  return resource_outline(R"(
spec
  template                   | What runs.
    metadata @metadata
    spec
      containers[] @container
      initContainers[] @container
      volumes[] @volume
      restartPolicy          | Never or OnFailure.
      serviceAccountName
      runtimeClassName
      enableServiceLinks bool
      automountServiceAccountToken bool
      imagePullSecrets[]
        name
  backoffLimit int           | How often it is tried again when it fails; 6 where none is given.
  activeDeadlineSeconds int  | It is stopped after this.
  ttlSecondsAfterFinished int | It is deleted so long after its end.
  completions int            | Only 1.
  parallelism int            | Only 1.
  suspend bool               | Only false.
status
  conditions any
  startTime
  completionTime
  active int
  succeeded int
  failed int
  instance                   | What runs it now.
)",
                          "Runs a container to its end.");
}

void default_job(json::object& object) {
  auto* spec = object_if(object, {"spec"});
  if (!spec) return;
  if (auto& limit = (*spec)["backoffLimit"]; limit.is_null()) limit = 6;
  for (const auto key : {"completions", "parallelism"})
    if (auto& count = (*spec)[key]; count.is_null()) count = 1;
}

void check_job(const json::object& object, const json::object* old, FieldErrors& errors) {
  ObjectReader root(object, errors);
  const auto metadata = decode_metadata(root.object("metadata"));
  check_name_dns1123(metadata, errors);
  check_job_spec(root.object("spec"));
  if (old) check_immutable(object, *old, {"spec", "template"}, "spec.template", errors);
}

}  // namespace

void check_pod_template(ObjectReader reader) {
  auto& errors = reader.errors();
  const auto path = reader.path("spec");
  if (auto metadata = reader.object("metadata"); metadata.present()) decode_metadata(std::move(metadata));
  const auto* given = reader.value("spec");
  if (!given || !given->is_object()) return errors.missing(reader.path("spec.containers"));
  auto spec = given->get_object();
  const auto policy = text_at(spec, {"restartPolicy"});
  if (!policy.empty() && policy != "Never" && policy != "OnFailure" && policy != "Always")
    errors.invalid_value(printable(policy), path + ".restartPolicy", "Never, OnFailure or Always");
  spec.erase("restartPolicy");
  if (const auto* containers = find_value(spec, {"containers"});
      containers && containers->is_array() && containers->get_array().size() > 1)
    errors.add("only one container runs here", {path + ".containers"},
               "containers beside one another run in Services; initContainers may be several");
  const json::value copy(std::move(spec));
  decode_revision_spec(ObjectReader(&copy, path, errors));
  reader.refuse_rest();
}

void check_job_spec(ObjectReader spec) {
  auto& errors = spec.errors();
  auto pod = spec.object("template");
  if (!pod.present()) errors.missing(spec.path("template"));
  if (text_at(pod.value("spec") && pod.value("spec")->is_object() ? pod.value("spec")->get_object() : json::object(),
              {"restartPolicy"}) == "Always")
    errors.invalid_value("Always", spec.path("template.spec.restartPolicy"), "Never or OnFailure");
  if (pod.present()) check_pod_template(std::move(pod));
  for (const auto key : {"completions", "parallelism"})
    if (const auto count = spec.integer(key); count && *count != 1)
      errors.invalid_value(std::to_string(*count), spec.path(key), "a job here runs one container once: 1");
  for (const auto key : {"backoffLimit", "activeDeadlineSeconds", "ttlSecondsAfterFinished"})
    if (const auto count = spec.integer(key); count && (*count < 0 || *count > job_seconds_max))
      errors.out_of_bounds(std::to_string(*count), "0", std::to_string(job_seconds_max), spec.path(key));
  if (spec.boolean("suspend").value_or(false)) errors.not_allowed(spec.path("suspend"));
  spec.refuse_rest();
}

std::vector<Kind> job_kinds() {
  Kind job{.group = "batch",
           .version = "v1",
           .kind = "Job",
           .plural = "jobs",
           .singular = "job",
           .categories = {"all"},
           .columns = {{"Status", "string", ".status.conditions[*].type"},
                       {"Active", "integer", ".status.active"},
                       {"Failed", "integer", ".status.failed"},
                       age_column},
           .schema = job_schema,
           .defaults = default_job,
           .check = check_job};
  return {std::move(job)};
}

}  // namespace wick::model
