// Which entry of an index is for this machine (OCI image-spec image-index.md).
#pragma once

#include <boost/json/object.hpp>
#include <string>

namespace wick::image {

/// As Go names it: "amd64", "arm64".
std::string machine_architecture();
/// An entry without a platform is for everybody.
bool runs_here(const boost::json::object& entry);
/// "linux/arm64/v8"; "" where the entry has no platform.
std::string platform_of(const boost::json::object& entry);

}  // namespace wick::image
