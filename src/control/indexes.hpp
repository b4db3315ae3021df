// What reconcilers look objects up by besides their keys. A change of one service must not cost a look at all of them:
// a thousand services would then be a million looks.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "wick/model/resource.hpp"
#include "wick/store/objects.hpp"

namespace wick::control {

inline constexpr std::string_view any_client_ca = "any";

struct Indexes {
  explicit Indexes(store::Objects& objects);

  store::Objects::Index by_controller;               // every stored kind in namespaces: the uid of its controller
  store::Objects::Index by_id_range;                 // Configuration, Revision: the number of its range
  store::Objects::Index revisions_by_configuration;  // of their label: scoped()
  store::Objects::Index routes_by_target;            // Configurations and Revisions of spec.traffic: scoped()
  store::Objects::Index routes_by_routed;            // Revisions of status.traffic: scoped()
  store::Objects::Index routes_by_client_ca;  // Route with wick.dev/client-ca: its Secret, scoped(); all: any_client_ca
  store::Objects::Index finished_jobs_by_sink;  // Job with an end: the JobSink that made it, scoped()
  store::Objects::Index mappings_by_name;       // DomainMapping: its name
  store::Objects::Index mappings_by_target;     // DomainMapping: the name of what it refers to
};

/// How these indexes write a name within a namespace.
std::string scoped(std::string_view name_space, std::string_view name);

}  // namespace wick::control
