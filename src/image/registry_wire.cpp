// What the child is told, as one line of JSON.
#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>

#include "json_fields.hpp"
#include "wick/image/registry.hpp"

namespace wick::image {

namespace json = boost::json;

std::string to_wire(const RegistryTarget& target) {
  json::array endpoints;
  for (const auto& endpoint : target.endpoints)
    endpoints.push_back({{"url", endpoint.url},
                         {"ca", endpoint.ca_pem},
                         {"username", endpoint.credentials.username},
                         {"password", endpoint.credentials.password},
                         {"identityToken", endpoint.credentials.identity_token}});
  return json::serialize(
      json::object{{"reference", target.reference.canonical()}, {"endpoints", std::move(endpoints)}});
}

Result<RegistryTarget> target_from_wire(std::string_view line) {
  auto document = parse_object(line, "the request");
  if (!document) return fail(std::move(document.error()));
  JsonFields fields(*document, "the request");
  auto reference = parse_reference(fields.string("reference"));
  if (!reference) return fail(std::move(reference.error()));
  RegistryTarget target{.reference = std::move(*reference), .endpoints = {}};
  for (const auto& object : fields.objects("endpoints")) {
    JsonFields of_endpoint(object, "the request: endpoints");
    target.endpoints.push_back({.url = of_endpoint.string("url"),
                                .ca_pem = of_endpoint.string("ca"),
                                .credentials = {.username = of_endpoint.string("username"),
                                                .password = of_endpoint.string("password"),
                                                .identity_token = of_endpoint.string("identityToken")}});
    if (auto ok = of_endpoint.result(); !ok) return fail(std::move(ok.error()));
  }
  if (auto ok = fields.result(); !ok) return fail(std::move(ok.error()));
  return target;
}

}  // namespace wick::image
