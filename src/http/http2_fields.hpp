// Header fields as nghttp2 takes them.
#pragma once

#include <nghttp2/nghttp2.h>

#include <string>
#include <string_view>
#include <vector>

#include "chars.hpp"

namespace wick::http {

/// nghttp2 copies them when they are submitted. Names in lower case (RFC 9113 8.2).
class Http2Fields {
 public:
  explicit Http2Fields(std::size_t count_max) {
    entries_.reserve(count_max);
    names_.reserve(count_max);
  }
  /// `value` must live until they are submitted.
  void add(std::string_view name, std::string_view value) {
    auto& lower = names_.emplace_back(name);
    for (char& c : lower) c = chars::lower(c);
    auto* bytes = reinterpret_cast<std::uint8_t*>(lower.data());
    auto* of_value = reinterpret_cast<std::uint8_t*>(const_cast<char*>(value.data()));
    entries_.push_back({bytes, of_value, lower.size(), value.size(), NGHTTP2_NV_FLAG_NONE});
  }
  const nghttp2_nv* data() const { return entries_.data(); }
  std::size_t size() const { return entries_.size(); }

 private:
  std::vector<nghttp2_nv> entries_;
  std::vector<std::string> names_;  // never grows past what was reserved: the entries point into it
};

}  // namespace wick::http
