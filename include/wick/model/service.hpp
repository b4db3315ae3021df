// Service, Configuration and Route (serving.knative.dev/v1) as values.
#pragma once

#include <boost/json/array.hpp>
#include <string>
#include <vector>

#include "wick/model/revision.hpp"

namespace wick::model {

struct TrafficTarget {
  std::string configuration;  // Routes only
  std::string revision;
  bool latest = false;
  int percent = 0;
  std::string tag;

  json::object to_json() const;
};

enum class TrafficOwner { service, route };
/// A Service's targets may not name a Configuration (it has one of its own); a Route's name exactly one of the two.
std::vector<TrafficTarget> decode_traffic(ObjectReader& spec, TrafficOwner owner);

struct Configuration {
  Metadata metadata;
  RevisionTemplate revision;
};
Configuration decode_configuration(const json::object& object, FieldErrors& errors);

struct Route {
  Metadata metadata;
  std::vector<TrafficTarget> traffic;
};
Route decode_route(const json::object& object, FieldErrors& errors);

struct Service {
  Metadata metadata;
  RevisionTemplate revision;
  std::vector<TrafficTarget> traffic;
};
Service decode_service(const json::object& object, FieldErrors& errors);

/// A traffic list as the defaults leave it, in place: one 100 % latestRevision target where there is none.
void default_traffic(json::object& spec, TrafficOwner owner, std::string_view name);

}  // namespace wick::model
