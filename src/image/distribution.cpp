#include "wick/image/distribution.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <limits>

#include "wick/base/text.hpp"
#include "wick/image/reference.hpp"

namespace wick::image {

namespace {

constexpr std::size_t shown_bytes = 100;

bool ends_with(std::span<const std::string> segments, std::initializer_list<std::string_view> end) {
  if (segments.size() < end.size()) return false;
  auto segment = segments.end() - static_cast<std::ptrdiff_t>(end.size());
  return std::ranges::all_of(end, [&](std::string_view wanted) {
    const std::string& found = *segment++;
    return wanted.empty() || found == wanted;
  });
}

std::string joined(std::span<const std::string> segments) {
  std::string all;
  for (const auto& segment : segments) all += (all.empty() ? "" : "/") + segment;
  return all;
}

std::optional<RegistryRequest> kind_of(std::span<const std::string> segments) {
  using Kind = RegistryRequest::Kind;
  const auto request = [&](Kind kind, std::size_t words) {
    RegistryRequest found{.kind = kind, .repository = {}, .digest = {}, .tag = {}, .upload = {}};
    found.repository = joined(segments.first(segments.size() - words));
    return found;
  };
  if (segments.empty()) return request(Kind::base, 0);
  if (ends_with(segments, {"tags", "list"})) return request(Kind::tags, 2);
  if (ends_with(segments, {"manifests", ""})) return request(Kind::manifest, 2);
  if (ends_with(segments, {"referrers", ""})) return request(Kind::referrers, 2);
  if (ends_with(segments, {"blobs", "uploads"})) return request(Kind::uploads, 2);
  if (ends_with(segments, {"blobs", "uploads", ""})) return request(Kind::upload, 3);
  if (ends_with(segments, {"blobs", ""})) return request(Kind::blob, 2);
  return std::nullopt;
}

RegistryResult<BlobDigest> digest_of(const std::string& text) {
  auto digest = BlobDigest::parse(text);
  if (!digest) return std::unexpected(RegistryFailure(RegistryCode::digest_invalid, digest.error().message()));
  return std::move(*digest);
}

}  // namespace

std::string_view to_string(RegistryCode code) {
  switch (code) {
    case RegistryCode::blob_unknown:
      return "BLOB_UNKNOWN";
    case RegistryCode::blob_upload_invalid:
      return "BLOB_UPLOAD_INVALID";
    case RegistryCode::blob_upload_unknown:
      return "BLOB_UPLOAD_UNKNOWN";
    case RegistryCode::digest_invalid:
      return "DIGEST_INVALID";
    case RegistryCode::manifest_blob_unknown:
      return "MANIFEST_BLOB_UNKNOWN";
    case RegistryCode::manifest_invalid:
      return "MANIFEST_INVALID";
    case RegistryCode::manifest_unknown:
      return "MANIFEST_UNKNOWN";
    case RegistryCode::name_invalid:
      return "NAME_INVALID";
    case RegistryCode::name_unknown:
      return "NAME_UNKNOWN";
    case RegistryCode::size_invalid:
      return "SIZE_INVALID";
    case RegistryCode::unauthorized:
      return "UNAUTHORIZED";
    case RegistryCode::denied:
      return "DENIED";
    case RegistryCode::unsupported:
      return "UNSUPPORTED";
    case RegistryCode::too_many_requests:
      return "TOOMANYREQUESTS";
  }
  return "UNSUPPORTED";
}

int status_of(RegistryCode code) {
  switch (code) {
    case RegistryCode::blob_unknown:
    case RegistryCode::blob_upload_unknown:
    case RegistryCode::manifest_blob_unknown:
    case RegistryCode::manifest_unknown:
    case RegistryCode::name_unknown:
      return 404;
    case RegistryCode::unauthorized:
      return 401;
    case RegistryCode::denied:
      return 403;
    case RegistryCode::unsupported:
      return 405;
    case RegistryCode::too_many_requests:
      return 429;
    case RegistryCode::blob_upload_invalid:
    case RegistryCode::digest_invalid:
    case RegistryCode::manifest_invalid:
    case RegistryCode::name_invalid:
    case RegistryCode::size_invalid:
      break;
  }
  return 400;
}

std::string RegistryFailure::body() const {
  const boost::json::object one{{"code", to_string(code)}, {"message", message}};
  return boost::json::serialize(boost::json::object{{"errors", boost::json::array{one}}}) + "\n";
}

RegistryFailure registry_failure(const Error& error, RegistryCode invalid, RegistryCode not_found) {
  const auto message = error.hint().empty() ? error.what() : fmt::format("{}; {}", error.what(), error.hint());
  switch (error.code()) {
    case Errc::invalid:
    case Errc::corrupt:
    case Errc::unsupported:
      return {invalid, message, 400};
    case Errc::not_found:
      return {not_found, message, 404};
    case Errc::too_large:
      return {RegistryCode::size_invalid, message, 413};
    case Errc::conflict:
      return {RegistryCode::blob_upload_invalid, message, 409};
    case Errc::overloaded:
      return {RegistryCode::too_many_requests, message, 429};
    case Errc::unavailable:
      return {RegistryCode::too_many_requests, message, 507};
    case Errc::timed_out:
      return {RegistryCode::too_many_requests, message, 408};
    default:
      return {RegistryCode::unsupported, message, 500};
  }
}

RegistryResult<RegistryRequest> parse_registry_path(std::span<const std::string> segments) {
  using Kind = RegistryRequest::Kind;
  auto request = kind_of(segments);
  if (!request)
    return std::unexpected(
        RegistryFailure(RegistryCode::unsupported,
                        fmt::format("a registry has no /v2/{}", printable(joined(segments), shown_bytes)), 404));
  if (request->kind == Kind::base) return std::move(*request);
  if (!is_repository_name(request->repository))
    return std::unexpected(RegistryFailure(
        RegistryCode::name_invalid,
        fmt::format("'{}' is not the name of a repository: lower-case letters and digits, joined by '.', '_', '__', "
                    "'-' and '/', at most 255",
                    printable(request->repository, shown_bytes))));
  const auto& last = segments.back();
  switch (request->kind) {
    case Kind::upload:
      request->upload = last;
      break;
    case Kind::manifest:
      if (!last.contains(':')) {
        if (!is_tag(last))
          return std::unexpected(RegistryFailure(
              RegistryCode::manifest_invalid,
              fmt::format("'{}' is no tag: 1 to 128 letters, digits, '_', '.' and '-'", printable(last, shown_bytes))));
        request->tag = last;
        break;
      }
      [[fallthrough]];
    case Kind::blob:
    case Kind::referrers: {
      auto digest = digest_of(last);
      if (!digest) return std::unexpected(std::move(digest.error()));
      request->digest = std::move(*digest);
      break;
    }
    default:
      break;
  }
  return std::move(*request);
}

Result<std::optional<ByteRange>> parse_range(std::string_view field, std::uint64_t size) {
  constexpr std::string_view unit = "bytes=";
  if (field.size() < unit.size() || !iequals(field.substr(0, unit.size()), unit) || field.contains(','))
    return std::nullopt;
  const auto wanted = trim(field.substr(unit.size()));
  const auto none = [&] {
    return fail(Errc::invalid, fmt::format("the range '{}' is none of {} bytes", printable(wanted, shown_bytes), size));
  };
  const auto dash = wanted.find('-');
  if (dash == std::string_view::npos || size == 0) return none();
  const auto last = parse_unsigned(wanted.substr(dash + 1));
  if (dash == 0) {  // the last so many
    if (!last || *last == 0) return none();
    return ByteRange{.first = size - std::min(*last, size), .last = size - 1};
  }
  const auto first = parse_unsigned(wanted.substr(0, dash));
  const bool open = dash + 1 == wanted.size();
  if (!first || *first >= size || (!open && (!last || *last < *first))) return none();
  return ByteRange{.first = *first, .last = open ? size - 1 : std::min(*last, size - 1)};
}

std::optional<ByteRange> parse_chunk_range(std::string_view field) {
  const auto dash = field.find('-');
  if (dash == std::string_view::npos) return std::nullopt;
  const auto first = parse_unsigned(field.substr(0, dash));
  const auto last = parse_unsigned(field.substr(dash + 1));
  if (!first || !last || *last < *first || *last == std::numeric_limits<std::uint64_t>::max()) return std::nullopt;
  return ByteRange{.first = *first, .last = *last};
}

Page page_of(const std::vector<std::string>& sorted, std::string_view last, std::size_t count) {
  const auto begin = last.empty() ? sorted.begin() : std::ranges::upper_bound(sorted, last);
  const auto left = static_cast<std::size_t>(sorted.end() - begin);
  const auto taken = static_cast<std::ptrdiff_t>(std::min(count, left));
  return {.names = {begin, begin + taken}, .more = left > count && count > 0};
}

}  // namespace wick::image
