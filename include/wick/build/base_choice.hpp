// Where the images come from that a builder starts with (`wick serve --bases`).
#pragma once

namespace wick::build {

enum class BaseChoice {
  automatic,  // Debian's packages; a registry's image where the project asks for a version that Debian 12 has not
  debian,     // never a registry
  registry,   // the language's own image, where the builder names one
};

}  // namespace wick::build
