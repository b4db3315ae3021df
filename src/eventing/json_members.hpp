// Where the parts of a JSON text are, so that data can be taken as the bytes it came in.
#pragma once

#include <string_view>
#include <vector>

namespace wick::eventing {

struct JsonMember {
  std::string_view name;  // with its quotes
  std::string_view value;
};

/// For texts a JSON parser accepted already; anything else gives parts that make no sense, but stays inside the text.
std::vector<JsonMember> members_of(std::string_view object);
std::vector<std::string_view> elements_of(std::string_view array);

}  // namespace wick::eventing
