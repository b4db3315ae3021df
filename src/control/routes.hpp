// URLs of a Route and the table that serving routes by. Pure.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "wick/serving/route_table.hpp"
#include "wick/store/objects.hpp"

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

/// Every host of every Route by its status.traffic: what was last found to work. Hosts that two Routes claim stay with
/// the first and are reported. A DomainMapping that has its name adds that to the hosts of what it refers to.
std::shared_ptr<const serving::RouteTable> make_route_table(const std::vector<store::ObjectValue>& routes,
                                                            const std::string& domain,
                                                            std::vector<std::string>* conflicts = nullptr,
                                                            const std::vector<store::ObjectValue>& mappings = {});

}  // namespace wick::control
