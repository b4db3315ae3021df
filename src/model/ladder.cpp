#include "wick/model/ladder.hpp"

#include <charconv>

#include "wick/base/text.hpp"

namespace wick::model {

namespace {

constexpr int spares_max = 100;
constexpr milliseconds longest = std::chrono::hours(24 * 365);

class Reader {
 public:
  Reader(const TextMap& annotations, const std::string& path, FieldErrors& errors)
      : annotations_(annotations), path_(path), errors_(errors) {}

  void count(std::string_view key, int& to) {
    const auto found = annotations_.find(std::string(key));
    if (found == annotations_.end()) return;
    int value = 0;
    const auto* end = found->second.data() + found->second.size();
    const auto [at, ec] = std::from_chars(found->second.data(), end, value);
    if (ec != std::errc{} || at != end) {
      errors_.invalid_value(printable(found->second), field_path(path_, key), "a whole number");
    } else if (value < 0 || value > spares_max) {
      errors_.out_of_bounds(printable(found->second), "0", std::to_string(spares_max), field_path(path_, key));
    } else {
      to = value;
    }
  }

  /// `never` is 0 where that word is allowed.
  void duration(std::string_view key, milliseconds low, bool allows_never, milliseconds& to) {
    const auto found = annotations_.find(std::string(key));
    if (found == annotations_.end()) return;
    if (allows_never && found->second == "never") {
      to = milliseconds(0);
      return;
    }
    const auto value = parse_go_duration(found->second);
    if (!value || *value < low || *value > longest) {
      errors_.invalid_value(printable(found->second), field_path(path_, key),
                            allows_never ? "a duration such as 30s or 10m, or never" : "a duration such as 30s or 10m");
    } else {
      to = *value;
    }
  }

  void park(std::string_view key, bool& to) {
    const auto found = annotations_.find(std::string(key));
    if (found == annotations_.end()) return;
    if (found->second != "auto" && found->second != "never")
      errors_.invalid_value(printable(found->second), field_path(path_, key), "auto or never");
    else
      to = found->second == "auto";
  }

 private:
  const TextMap& annotations_;
  const std::string& path_;
  FieldErrors& errors_;
};

}  // namespace

Ladder decode_ladder(const TextMap& annotations, const std::string& path, FieldErrors& errors) {
  using namespace std::chrono_literals;
  Ladder ladder;
  Reader reader(annotations, path, errors);
  reader.count("wick.dev/prepared-spares", ladder.prepared_spares);
  reader.duration("wick.dev/prepared-for", 0ms, true, ladder.prepared_for);
  reader.park("wick.dev/park", ladder.park);
  reader.duration("wick.dev/freeze-after", 100ms, true, ladder.freeze_after);
  reader.duration("wick.dev/frozen-for", 1s, false, ladder.frozen_for);
  return ladder;
}

}  // namespace wick::model
