#include "fetch_events.hpp"

#include <fmt/format.h>

#include <array>

#include "wick/base/text.hpp"

namespace wick::build {

namespace {

constexpr std::size_t field_bytes_max = 1000;

// The codes a child may report; anything else would be a bug of ours.
constexpr std::array codes{Errc::internal,  Errc::invalid,   Errc::not_found,   Errc::denied,
                           Errc::too_large, Errc::timed_out, Errc::unavailable, Errc::unsupported,
                           Errc::corrupt,   Errc::io,        Errc::conflict,    Errc::overloaded};

struct Line {
  std::string operator()(const FetchProgress& event) const {
    return "progress\t" + printable(event.text, field_bytes_max);
  }
  std::string operator()(const FetchWarning& event) const {
    return "warning\t" + printable(event.text, field_bytes_max);
  }
  std::string operator()(const FetchedCommit& event) const {
    return fmt::format("commit\t{}\t{}", event.id, event.time);
  }
  std::string operator()(const FetchedImage& event) const {
    return fmt::format("image\t{}\t{}", event.manifest.text(), printable(event.name, field_bytes_max));
  }
  std::string operator()(const FetchedDigest& event) const { return "digest\t" + event.digest.text(); }
  std::string operator()(const FetchQuestion& event) const { return "known?\t" + event.layer.text(); }
  std::string operator()(const Error& event) const {
    return fmt::format("error\t{}\t{}\t{}", to_string(event.code()), printable(event.what(), field_bytes_max),
                       printable(event.hint(), field_bytes_max));
  }
};

}  // namespace

std::string to_line(const FetchEvent& event) { return std::visit(Line{}, event) + "\n"; }

Result<FetchEvent> parse_fetch_event(std::string_view line) {
  const auto fields = split(line, '\t');
  const auto text = [&](std::size_t i) { return printable(fields[i], field_bytes_max); };
  if (fields[0] == "progress" && fields.size() == 2) return FetchProgress{text(1)};
  if (fields[0] == "warning" && fields.size() == 2) return FetchWarning{text(1)};
  if (fields[0] == "commit" && fields.size() == 3) {
    const auto time = parse_unsigned(fields[2]);
    const bool hex =
        fields[1].size() == 40 && fields[1].find_first_not_of("0123456789abcdef") == std::string_view::npos;
    if (hex && time && *time <= 253402300799)
      return FetchedCommit{std::string(fields[1]), static_cast<std::int64_t>(*time)};
  }
  if (fields[0] == "image" && fields.size() == 3)
    if (auto digest = Digest::parse(fields[1])) return FetchedImage{*digest, text(2)};
  if ((fields[0] == "digest" || fields[0] == "known?") && fields.size() == 2)
    if (auto digest = Digest::parse(fields[1])) {
      if (fields[0] == "digest") return FetchedDigest{*digest};
      return FetchQuestion{*digest};
    }
  if (fields[0] == "error" && fields.size() == 4)
    for (const auto code : codes)
      if (fields[1] == to_string(code)) return Error(code, text(2)).hint(text(3));
  return fail(Errc::corrupt, fmt::format("the fetching child said '{}'", printable(line, 80)));
}

}  // namespace wick::build
