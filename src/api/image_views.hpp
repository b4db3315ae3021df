// The images of this machine. They belong to no namespace, so whoever is limited to one does not see them.
//
//   GET    images                     every name with digest, size and age
//   GET    images/NAME                manifest and config (NAME percent-encoded)
//   POST   images?name=NAME            an OCI or docker archive as the body: all its images, or the one called NAME
//   POST   imagegc                    frees what is over the limits, as the daemon does by itself
//   GET    imageverify?name=NAME      reads every byte of an image
//   POST   imageprune                 removes what nothing needs
//   DELETE images/NAME                forgets the name; its bytes go with the next prune
//   GET    imagearchive?names=A,B     a tar of them, see wick/image/archive.hpp
#pragma once

#include "api/routes.hpp"
#include "wick/api/api.hpp"

namespace wick::api {

/// `doors` outlives the routes.
std::vector<Route> image_routes(const Doors& doors);

}  // namespace wick::api
