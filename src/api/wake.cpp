#include "api/wake.hpp"

#include <algorithm>
#include <boost/json/array.hpp>

#include "api/answer.hpp"
#include "api/views.hpp"
#include "wick/base/text.hpp"
#include "wick/model/object_reader.hpp"

namespace wick::api {

namespace {

constexpr std::string_view service_selector = "serving.knative.dev/service=";
constexpr std::string_view revision_selector = "serving.knative.dev/revision=";

/// "hello" of the selector that is all about one service or revision; "" of any other.
std::string selected_name(std::string_view selector) {
  for (const auto prefix : {service_selector, revision_selector})
    if (selector.starts_with(prefix) && selector.find_first_of(",!=( ", prefix.size()) == selector.npos)
      return std::string(selector.substr(prefix.size()));
  return {};
}

bool is_pod(const Doors& doors, const std::string& name_space, const std::string& name) {
  const auto pod = PodName::parse(name);
  const auto revision = pod ? doors.serving.revision({name_space, pod->revision}) : std::nullopt;
  return revision && std::ranges::any_of(revision->instances, [&](const serving::InstanceView& instance) {
           return instance.id.text() == pod->instance;
         });
}

bool runs(const Doors& doors, const std::string& selector, const std::string& name_space) {
  const bool by_service = selector.starts_with(service_selector);
  const auto name = selected_name(selector);
  return std::ranges::any_of(doors.serving.revisions(), [&](const serving::RevisionView& view) {
    if (view.key.name_space != name_space || view.instances.empty()) return false;
    const auto object = doors.objects.find({model::revision_kind().resource(), name_space, view.key.name});
    const bool is_meant =
        by_service ? object && model::text_at(*object, {"metadata", "labels", "serving.knative.dev/service"}) == name
                   : view.key.name == name;
    return is_meant && std::ranges::any_of(view.instances, [](const serving::InstanceView& instance) {
             return instance.state == "ready" || instance.state == "frozen";
           });
  });
}

}  // namespace

std::optional<serving::RevisionKey> revision_of_name(const Doors& doors, const std::string& name_space,
                                                     const std::string& name) {
  if (doors.objects.find({model::revision_kind().resource(), name_space, name}))
    return serving::RevisionKey{name_space, name};
  const auto route = doors.objects.find({model::route_kind().resource(), name_space, name});
  const auto* traffic = route ? model::find_value(*route, {"status", "traffic"}) : nullptr;
  if (!traffic || !traffic->is_array()) return std::nullopt;
  std::optional<serving::RevisionKey> most;
  std::int64_t percent_of_most = 0;
  for (const auto& target : traffic->get_array()) {
    if (!target.is_object()) continue;
    const auto revision = model::text_at(target.get_object(), {"revisionName"});
    const auto percent = model::integer_at(target.get_object(), {"percent"});
    if (revision.empty() || (most && percent <= percent_of_most)) continue;
    most = serving::RevisionKey{name_space, revision};
    percent_of_most = percent;
  }
  return most;
}

awaitable<Result<std::string>> wake_for_command(const Doors& doors, const http::Exchange& exchange, ResourcePath path) {
  const auto query = [&](std::string_view name) {
    return http::query_value(exchange.head().query(), name).value_or(std::string());
  };
  if (exchange.head().fields.find("Kubectl-Command") != "kubectl exec" || path.name_space.empty() ||
      is_true(query("watch")))
    co_return path.name;
  const auto selector = query("labelSelector");
  const auto name = path.name.empty() ? selected_name(selector) : path.name;
  const bool there =
      path.name.empty() ? name.empty() || runs(doors, selector, path.name_space) : is_pod(doors, path.name_space, name);
  const auto revision = there ? std::nullopt : revision_of_name(doors, path.name_space, name);
  if (!revision) co_return path.name;
  // Let go at once: what was woken stays for as long as it would after a request.
  auto woken = co_await doors.serving.hold(*revision, {});
  if (!woken) co_return fail(std::move(woken.error()));
  if (path.name.empty()) co_return std::string();
  const PodName pod{.revision = revision->name, .instance = std::string(woken->instance().id().text())};
  co_return pod.text();
}

}  // namespace wick::api
