#include "control/indexes.hpp"

#include <fmt/format.h>

#include <initializer_list>

#include "control/jobs.hpp"
#include "wick/model/object_reader.hpp"

namespace wick::control {

namespace {

namespace json = boost::json;
using Path = std::initializer_list<std::string_view>;

std::vector<std::string> text_or_none(std::string text) {
  return text.empty() ? std::vector<std::string>() : std::vector{std::move(text)};
}

std::string namespace_in(const json::object& object) { return model::text_at(object, {"metadata", "namespace"}); }

/// The texts of these fields in each element of a list, in the object's namespace.
std::vector<std::string> scoped_in(const json::object& object, Path list, Path fields) {
  std::vector<std::string> names;
  const auto* elements = model::find_value(object, list);
  if (!elements || !elements->is_array()) return names;
  for (const auto& element : elements->get_array())
    for (const auto field : fields)
      if (const auto* entry = element.if_object())
        if (const auto name = model::text_at(*entry, {field}); !name.empty())
          names.push_back(scoped(namespace_in(object), name));
  return names;
}

std::vector<std::string> sink_of_job(const json::object& job) {
  const auto sink = job_sink_of(job);
  return text_or_none(sink.empty() ? sink : scoped(namespace_in(job), sink));
}

std::vector<std::string> namespaced_kinds() {
  std::vector<std::string> resources;
  for (const auto& kind : model::kinds())
    if (kind.namespaced && kind.stored) resources.push_back(kind.resource());
  return resources;
}

}  // namespace

std::string scoped(std::string_view name_space, std::string_view name) {
  return fmt::format("{}/{}", name_space, name);
}

Indexes::Indexes(store::Objects& objects)
    : by_controller(objects.add_index(
          namespaced_kinds(), [](const json::object& object) { return text_or_none(model::controller_uid(object)); })),
      by_id_range(objects.add_index(
          {model::configuration_kind().resource(), model::revision_kind().resource(), model::job_sink_kind().resource(),
           model::job_kind().resource(), model::container_source_kind().resource()},
          [](const json::object& object) {
            return text_or_none(model::text_at(object, {"metadata", "annotations", model::names::id_range}));
          })),
      revisions_by_configuration(objects.add_index(
          {model::revision_kind().resource()},
          [](const json::object& revision) {
            const auto name = model::text_at(revision, {"metadata", "labels", model::names::configuration});
            return text_or_none(name.empty() ? name : scoped(namespace_in(revision), name));
          })),
      routes_by_target(objects.add_index({model::route_kind().resource()},
                                         [](const json::object& route) {
                                           return scoped_in(route, {"spec", "traffic"},
                                                            {"configurationName", "revisionName"});
                                         })),
      routes_by_routed(objects.add_index(
          {model::route_kind().resource()},
          [](const json::object& route) { return scoped_in(route, {"status", "traffic"}, {"revisionName"}); })),
      routes_by_client_ca(objects.add_index(
          {model::route_kind().resource()},
          [](const json::object& route) {
            const auto secret = model::text_at(route, {"metadata", "annotations", "wick.dev/client-ca"});
            return secret.empty() ? std::vector<std::string>()
                                  : std::vector{std::string(any_client_ca), scoped(namespace_in(route), secret)};
          })),
      finished_jobs_by_sink(objects.add_index({model::job_kind().resource()},
                                              [](const json::object& job) {
                                                return end_of(job) == JobEnd::none ? std::vector<std::string>()
                                                                                   : sink_of_job(job);
                                              })),
      mappings_by_name(objects.add_index(
          {model::domain_mapping_kind().resource()},
          [](const json::object& mapping) { return text_or_none(model::text_at(mapping, {"metadata", "name"})); })),
      mappings_by_target(objects.add_index({model::domain_mapping_kind().resource()}, [](const json::object& mapping) {
        return text_or_none(model::text_at(mapping, {"spec", "ref", "name"}));
      })) {}

}  // namespace wick::control
