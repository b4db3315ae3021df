#include "wick/model/sandbox.hpp"

#include <algorithm>

#include "wick/base/text.hpp"
#include "wick/model/object_reader.hpp"
#include "wick/model/quantity.hpp"
#include "wick/model/resource.hpp"

namespace wick::model {

namespace {

constexpr std::uint64_t tmp_bytes_min = 64ULL << 10;
constexpr std::uint64_t tmp_bytes_max = 64ULL << 30;
constexpr std::uint64_t pids_max = 32768;

}  // namespace

Sandbox decode_sandbox(const Metadata& metadata, const std::string& path, FieldErrors& errors) {
  Sandbox sandbox;
  if (const auto text = metadata.annotation(names::egress); !text.empty()) {
    auto policy = parse_egress(text);
    if (policy)
      sandbox.egress = std::move(*policy);
    else
      errors.invalid_value(printable(text), field_path(path, names::egress), policy.error().what());
  }
  if (const auto text = metadata.annotation(names::tmp_size); !text.empty()) {
    const auto size = parse_quantity(text);
    const auto bytes = size ? static_cast<std::uint64_t>(std::max<std::int64_t>(size->whole(), 0)) : 0;
    if (bytes < tmp_bytes_min || bytes > tmp_bytes_max)
      errors.invalid_value(printable(text), field_path(path, names::tmp_size), "a size from 64Ki to 64Gi");
    else
      sandbox.tmp_bytes = bytes;
  }
  if (const auto text = metadata.annotation(names::pids_limit); !text.empty()) {
    const auto pids = parse_unsigned(text);
    if (!pids || *pids < 1 || *pids > pids_max)
      errors.out_of_bounds(printable(text), "1", "32768", field_path(path, names::pids_limit));
    else
      sandbox.pids = static_cast<std::uint32_t>(*pids);
  }
  return sandbox;
}

}  // namespace wick::model
