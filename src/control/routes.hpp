// URLs and hosts of a Route, and what answers on them. Pure.
#pragma once

#include <boost/json/object.hpp>
#include <string>
#include <vector>

#include "wick/serving/route_table.hpp"

namespace wick::control {

/// "http://NAME.NAMESPACE.DOMAIN", with `tag` "http://TAG-NAME.NAMESPACE.DOMAIN"; cluster-local names when the Route is
/// not for outside.
std::string url_of(const boost::json::object& route, const std::string& domain, const std::string& tag = {});
/// The names that clients outside use, in lower case: none where the Route is not for outside.
std::vector<std::string> outside_hosts(const boost::json::object& route, const std::string& domain,
                                       const std::string& tag = {});
/// The names inside the box: "NAME.NAMESPACE.svc.cluster.local" and its shorter forms.
std::vector<std::string> inside_hosts(const boost::json::object& route, const std::string& tag = {});
/// "", then each tag that has traffic of its own.
std::vector<std::string> tags_of(const boost::json::object& route);
/// outside_hosts() of all of these.
std::vector<std::string> outside_hosts_of_all(const boost::json::object& route, const std::string& domain);
/// "http://NAME.NAMESPACE.svc.cluster.local".
std::string local_url(const std::string& name_space, const std::string& name);

/// Every host of a Route with what answers there by its status.traffic: what was last found to work.
std::vector<serving::RouteChange> entries_of_route(const boost::json::object& route, const std::string& domain);
/// The host that a DomainMapping adds once it has its name and what it refers to; empty: none.
std::string host_of_mapping(const boost::json::object& mapping);
/// The local name of what it refers to: it answers as that does.
std::string target_of_mapping(const boost::json::object& mapping);

}  // namespace wick::control
