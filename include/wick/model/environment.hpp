// Environment of a container: values written out, and values that Secrets and ConfigMaps hold.
#pragma once

#include <string>
#include <vector>

#include "wick/model/object_reader.hpp"

namespace wick::model {

/// Where a value is kept: the object of the revision's namespace.
struct ValueObject {
  enum class Kind { secret, config_map } kind = Kind::secret;
  std::string name;
  bool optional = false;  // absent is fine
};

struct EnvironmentVariable {
  std::string name;
  std::string value;
  std::string key;     // not empty: the value is `from`'s at this key
  ValueObject from{};  // only with `key`
};

/// envFrom: every key of the object that is a variable's name, with a prefix.
struct EnvironmentSource {
  std::string prefix;
  ValueObject from;
};

enum class PortVariable { reserved, allowed };  // sidecars and init containers may set PORT

std::vector<EnvironmentVariable> decode_environment(ObjectReader& container, PortVariable port);
std::vector<EnvironmentSource> decode_environment_sources(ObjectReader& container);

/// What Kubernetes takes for a variable's name in envFrom: other keys are left out.
bool is_variable_name(std::string_view text);

}  // namespace wick::model
