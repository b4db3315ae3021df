// What Kubernetes has objects for and Wick has not: Pods from instances, core Services from Routes, and
// CustomResourceDefinitions from the kinds of the model. Read only.
#pragma once

#include <boost/json/object.hpp>
#include <string>
#include <vector>

#include "api/request_path.hpp"
#include "wick/api/api.hpp"
#include "wick/model/resource.hpp"

namespace wick::api {

const model::Kind& pod_kind();
const model::Kind& core_service_kind();
const model::Kind& definition_kind();

std::vector<boost::json::object> list_pods(const Doors& doors);
std::vector<boost::json::object> list_core_services(const Doors& doors);
std::vector<boost::json::object> list_definitions();

/// Cells that no path leads to: "@ready", "@status" of a Pod, "@ports" of a Service, "@object" of an Event; null for
/// any other path.
boost::json::value computed_cell(std::string_view path, const boost::json::object& object);

/// The instance a Pod's name stands for.
struct PodName {
  std::string revision;
  std::string instance;
  std::string text() const { return revision + "-" + instance; }
  static std::optional<PodName> parse(std::string_view text);
};

/// Whether a revision has a container of that name; an empty one is the one that serves. The error is for the user.
Result<void> check_container(const boost::json::object& revision, const std::string& name, std::string_view pod);

/// GET …/pods/NAME/log (container, follow, tailLines, limitBytes).
awaitable<void> pod_log(const Doors& doors, http::Exchange& exchange, std::string name_space, std::string name);
/// GET or POST …/pods/NAME/exec (command, container, stdin, stdout, stderr, tty): a WebSocket.
awaitable<void> pod_exec(const Doors& doors, http::Exchange& exchange, std::string name_space, std::string name);

}  // namespace wick::api
