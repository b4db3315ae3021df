// Where an EventTransform takes events: as the sinks of eventing.hpp, by a name and a host of their own.
#pragma once

#include <string>
#include <string_view>

namespace wick::eventing {

inline constexpr std::string_view event_transform_host = "event-transform.knative-eventing.svc.cluster.local";
/// "eventtransforms/NAME": of a SinkSpec.
std::string event_transform_sink(std::string_view name);

}  // namespace wick::eventing
