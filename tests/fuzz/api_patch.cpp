// An object and what a client wants changed in it, a line each: merge patch, JSON patch, strategic merge patch, apply
// and the record of fields that comes along. Nothing may crash, a refused patch changes nothing, and a record that was
// read is written as it was read.
#include <boost/json/parse.hpp>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "api/managed_fields.hpp"
#include "api/patches.hpp"
#include "wick/model/resource.hpp"

namespace {

boost::json::value parsed(std::string_view text) {
  boost::json::parse_options options;
  options.max_depth = 32;
  boost::system::error_code error;
  auto value = boost::json::parse(text, error, {}, options);
  return error ? boost::json::value() : value;
}

void require(bool holds) {
  if (!holds) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace wick::api;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto end = text.find('\n');
  if (end == text.npos) return 0;
  const auto document = parsed(text.substr(0, end));
  const auto patch = parsed(text.substr(end + 1));
  auto target = document;
  merge_patch(target, patch);
  for (const auto apply : {json_patch, strategic_merge_patch}) {
    target = document;
    if (!apply(target, patch)) require(target == document);
  }
  if (!document.is_object() || !patch.is_object()) return 0;
  const auto fields = from_fields_v1(patch.get_object());
  require(from_fields_v1(to_fields_v1(fields)) == fields);
  const auto& schema = wick::model::schema_of(wick::model::service_kind());
  const FieldManager manager{"fuzz", "v1", "2026-01-01T00:00:00Z"};
  const auto once = apply_fields(&document.get_object(), patch.get_object(), schema, manager, OnConflict::take);
  const auto twice = apply_fields(&once.object, patch.get_object(), schema, manager, OnConflict::report);
  require(twice.conflicts.empty() && twice.object == once.object);
  after_update(&document.get_object(), patch.get_object(), schema, manager);
  return 0;
}
