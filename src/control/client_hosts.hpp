// Which names want their clients to show certificates, and whose (annotation wick.dev/client-ca of a Service or Route).
#pragma once

#include <optional>
#include <string>

#include "control/world.hpp"

namespace wick::control {

/// The Secret that a Route's annotation names; empty: none.
std::string client_ca_of(const json::object& route);

/// Every name under which the edge answers for such a Route: its own, those of its tags, inside the box too, and those
/// of mappings that lead to it.
ClientHosts client_hosts(const World& world);

}  // namespace wick::control
