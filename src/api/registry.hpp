// This machine's registry: the OCI distribution spec 1.1 under /v2/, so that docker, podman and skopeo push here what
// `wick deploy` and FROM then find by its name, and pull what was built here.
//
//   end-1   GET /v2/                                  end-7   PUT NAME/manifests/REFERENCE
//   end-2   GET, HEAD NAME/blobs/DIGEST               end-8   GET NAME/tags/list?n=&last=
//   end-3   GET, HEAD NAME/manifests/REFERENCE        end-9   DELETE NAME/manifests/REFERENCE
//   end-4   POST NAME/blobs/uploads/[?digest=]        end-10  DELETE NAME/blobs/DIGEST
//   end-5   PATCH NAME/blobs/uploads/ID               end-11  POST NAME/blobs/uploads/?mount=&from=
//   end-6   PUT NAME/blobs/uploads/ID?digest=         end-12  GET NAME/referrers/DIGEST?artifactType=
//   end-13  GET NAME/blobs/uploads/ID                 end-14  DELETE NAME/blobs/uploads/ID
//
// Nothing is held whole but manifests, of which four are taken at once: with them the memory is 4 x 4 MiB, and 256 KiB
// a blob on its way.
#pragma once

#include "api/registry_answer.hpp"
#include "api/routes.hpp"
#include "wick/api/api.hpp"
#include "wick/image/registry_store.hpp"
#include "wick/os/slots.hpp"

namespace wick::api {

class Registry {
 public:
  /// `doors`, with a registry, outlives it.
  explicit Registry(const Doors& doors);
  /// `path`: the decoded segments behind /v2/.
  awaitable<void> handle(http::Exchange& exchange, const std::vector<std::string>& path);

 private:
  using Request = image::RegistryRequest;
  awaitable<void> answer(http::Exchange& exchange, const Request& request);
  awaitable<void> answer_upload(http::Exchange& exchange, const Request& request);

  awaitable<void> get_blob(http::Exchange& exchange, const Request& request);
  awaitable<void> send_blob(http::Exchange& exchange, const Request& request, image::RegistryStore::Blob blob);
  awaitable<void> delete_blob(http::Exchange& exchange, const Request& request);
  awaitable<void> begin_upload(http::Exchange& exchange, const Request& request);
  awaitable<void> show_upload(http::Exchange& exchange, const Request& request);
  awaitable<void> append_upload(http::Exchange& exchange, const Request& request);
  awaitable<void> finish_upload(http::Exchange& exchange, const Request& request);
  awaitable<void> cancel_upload(http::Exchange& exchange, const Request& request);

  awaitable<void> get_manifest(http::Exchange& exchange, const Request& request);
  awaitable<void> put_manifest(http::Exchange& exchange, const Request& request);
  awaitable<void> delete_manifest(http::Exchange& exchange, const Request& request);
  awaitable<void> list_tags(http::Exchange& exchange, const Request& request);
  awaitable<void> list_referrers(http::Exchange& exchange, const Request& request);

  struct Refusal {
    image::RegistryFailure failure;
    http::Fields fields;
  };
  /// The body to the end of the upload; nullopt when all of it is there.
  awaitable<std::optional<Refusal>> receive(http::Exchange& exchange, const Request& request, const std::string& id,
                                            std::uint64_t& size);
  awaitable<Result<std::string>> new_upload(const Request& request, image::HashAlgorithm algorithm);
  awaitable<void> uploaded(http::Exchange& exchange, const Request& request, const image::BlobDigest& digest);
  awaitable<void> discard(const Request& request, const std::string& id);

  const Doors& doors_;
  image::RegistryStore& store_;
  Slots manifests_;
};

/// None without a registry.
std::vector<Route> registry_routes(const Doors& doors);

}  // namespace wick::api
