#include <algorithm>
#include <cmath>
#include <optional>

#include "eventing/jsonata_functions.hpp"
#include "eventing/jsonata_lexer.hpp"
#include "eventing/jsonata_unicode.hpp"
#include "wick/base/text.hpp"

namespace wick::eventing::jsonata {

namespace {

constexpr std::string_view hex_digits = "0123456789ABCDEF";
constexpr std::string_view unreserved_marks = "-_.!~*'()", reserved_marks = ";/?:@&=+$,#";

Value string_function(Call& call) {
  if (call.at(0).missing()) return {};
  const bool pretty = call.at(1).is(Type::boolean) && call.at(1).truth();
  if (call.at(0).is(Type::text)) return call.at(0);
  return call.evaluation.text(to_string_text(call.at(0), pretty ? Style::pretty : Style::compact));
}

Value substring_function(Call& call) {
  if (call.at(0).missing()) return {};
  const auto& text = call.text(0);
  const auto places = code_point_places(text);
  const double size = static_cast<double>(places.size() - 1);
  double start = call.at(1).missing() ? 0 : std::trunc(call.number(1));
  if (size + start < 0) start = 0;
  double end = size;
  if (!call.at(2).missing()) {
    const double length = call.number(2);
    if (length <= 0) return "";
    end = std::trunc(start >= 0 ? start + length : size + start + length);
  }
  if (start < 0) start += size;
  if (end < 0) end = std::max(0.0, size + end);
  start = std::min(start, size);
  end = std::min(end, size);
  if (start >= end) return "";
  const auto from = places[static_cast<std::size_t>(start)], to = places[static_cast<std::size_t>(end)];
  return call.evaluation.text(text.substr(from, to - from));
}

Value substring_before(Call& call) {
  if (call.at(0).missing()) return {};
  const auto& text = call.text(0);
  const auto place = call.at(1).missing() ? text.npos : text.find(call.text(1));
  return place == text.npos ? call.at(0) : call.evaluation.text(text.substr(0, place));
}

Value substring_after(Call& call) {
  if (call.at(0).missing()) return {};
  const auto& text = call.text(0);
  const auto place = call.at(1).missing() ? text.npos : text.find(call.text(1));
  return place == text.npos ? call.at(0) : call.evaluation.text(text.substr(place + call.text(1).size()));
}

Value lowercase(Call& call) {
  if (call.at(0).missing()) return {};
  call.evaluation.spend(call.text(0).size() / 16);
  return call.evaluation.text(to_lower_text(call.text(0)));
}

Value uppercase(Call& call) {
  if (call.at(0).missing()) return {};
  call.evaluation.spend(call.text(0).size() / 16);
  return call.evaluation.text(to_upper_text(call.text(0)));
}

Value length_function(Call& call) {
  if (call.at(0).missing()) return {};
  call.evaluation.spend(call.text(0).size() / 64);
  return static_cast<double>(code_points(call.text(0)));
}

Value trim_function(Call& call) {
  if (call.at(0).missing()) return {};
  std::string out;
  bool gap = false;
  for (const char c : call.text(0)) {
    if (c == ' ' || c == '\t' || c == '\n' || c == '\r') {
      gap = true;
      continue;
    }
    if (gap && !out.empty()) out += ' ';
    gap = false;
    out += c;
  }
  return call.evaluation.text(std::move(out));
}

Value pad_function(Call& call) {
  if (call.at(0).missing()) return {};
  const auto& text = call.text(0);
  const double width = std::trunc(call.number(1));
  const double missing = std::abs(width) - static_cast<double>(code_points(text));
  if (!(missing > 0)) return call.at(0);
  auto with = call.at(2).missing() || call.text(2).empty() ? std::string(" ") : call.text(2);
  constexpr double far = 1e9;
  call.evaluation.allocate(static_cast<std::size_t>(std::min(missing, far)) * with.size());
  const auto places = code_point_places(with);
  const auto whole = static_cast<std::size_t>(missing) / (places.size() - 1);
  const auto rest = static_cast<std::size_t>(missing) % (places.size() - 1);
  std::string padding;
  padding.reserve(whole * with.size() + places[rest]);
  for (std::size_t i = 0; i < whole; ++i) padding += with;
  padding += with.substr(0, places[rest]);
  return call.evaluation.text(width > 0 ? text + padding : padding + text);
}

Value join_function(Call& call) {
  if (call.at(0).missing()) return {};
  const auto separator = call.at(1).missing() ? std::string() : call.text(1);
  std::string out;
  bool first = true;
  for (const auto& item : call.items(0)) {
    const auto before = out.size();
    if (!first) out += separator;
    first = false;
    if (!item.is(Type::text)) throw Fault{.code = "T0412", .value = item, .value2 = "strings", .index = 1};
    out += item.text();
    call.evaluation.allocate(out.size() - before);
  }
  return Value(std::move(out));
}

/// Node's Buffer.from(text, "binary"): the low byte of each UTF-16 unit.
std::string low_bytes(std::string_view text) {
  std::string bytes;
  for (const char32_t code : to_code_points(text)) {
    if (code >= 0x10000) {
      bytes += static_cast<char>(((code - 0x10000) >> 10) & 0xFF);
      bytes += static_cast<char>((code - 0x10000) & 0xFF);
    } else {
      bytes += static_cast<char>(code & 0xFF);
    }
  }
  return bytes;
}

Value base64_encode_function(Call& call) {
  if (call.at(0).missing()) return {};
  return call.evaluation.text(base64_encode(low_bytes(call.text(0))));
}

/// As Node does: both alphabets, what belongs to none is passed over, and '=' ends it.
Value base64_decode_function(Call& call) {
  if (call.at(0).missing()) return {};
  std::string out;
  unsigned bits = 0, held = 0;
  for (const char c : call.text(0)) {
    unsigned digit = 0;
    if (c >= 'A' && c <= 'Z')
      digit = static_cast<unsigned>(c - 'A');
    else if (c >= 'a' && c <= 'z')
      digit = static_cast<unsigned>(c - 'a') + 26;
    else if (c >= '0' && c <= '9')
      digit = static_cast<unsigned>(c - '0') + 52;
    else if (c == '+' || c == '-')
      digit = 62;
    else if (c == '/' || c == '_')
      digit = 63;
    else if (c == '=')
      break;
    else
      continue;
    held = (held << 6) | digit;
    bits += 6;
    if (bits < 8) continue;
    bits -= 8;
    append_utf8(out, (held >> bits) & 0xFF);
  }
  return call.evaluation.text(std::move(out));
}

Value encode(Call& call, std::string_view kept) {
  if (call.at(0).missing()) return {};
  std::string out;
  for (const char c : call.text(0)) {
    const bool plain = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
    if (plain || unreserved_marks.find(c) != kept.npos || kept.find(c) != kept.npos) {
      out += c;
    } else {
      out += '%';
      out += hex_digits[static_cast<unsigned char>(c) >> 4];
      out += hex_digits[static_cast<unsigned char>(c) & 15];
    }
  }
  return call.evaluation.text(std::move(out));
}

std::optional<unsigned char> escaped_byte(std::string_view text, std::size_t place) {
  const auto digit = [](char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
  };
  if (place + 2 >= text.size() || text[place] != '%') return std::nullopt;
  const int high = digit(text[place + 1]), low = digit(text[place + 2]);
  if (high < 0 || low < 0) return std::nullopt;
  return static_cast<unsigned char>(high * 16 + low);
}

/// `kept` stays escaped. Throws Fault D3140 for what is no UTF-8.
Value decode(Call& call, std::string_view kept, std::string_view name) {
  if (call.at(0).missing()) return {};
  const auto& text = call.text(0);
  const auto wrong = [&] { return Fault{.code = "D3140", .token = std::string(name), .value = call.at(0)}; };
  std::string out;
  for (std::size_t i = 0; i < text.size();) {
    if (text[i] != '%') {
      out += text[i++];
      continue;
    }
    const auto first = escaped_byte(text, i);
    if (!first) throw wrong();
    if (*first < 0x80) {
      if (kept.find(static_cast<char>(*first)) != kept.npos)
        out += text.substr(i, 3);
      else
        out += static_cast<char>(*first);
      i += 3;
      continue;
    }
    const int more = *first >= 0xF0 && *first < 0xF5   ? 3
                     : *first >= 0xE0 && *first < 0xF0 ? 2
                     : *first >= 0xC2 && *first < 0xE0 ? 1
                                                       : 0;
    if (more == 0) throw wrong();
    char32_t code = *first & (more == 1 ? 0x1F : more == 2 ? 0x0F : 0x07);
    i += 3;
    for (int n = 0; n < more; ++n, i += 3) {
      const auto next = escaped_byte(text, i);
      if (!next || (*next & 0xC0) != 0x80) throw wrong();
      code = (code << 6) | (*next & 0x3F);
    }
    const bool overlong = (more == 2 && code < 0x800) || (more == 3 && code < 0x10000);
    if (overlong || (code >= 0xD800 && code <= 0xDFFF) || code > 0x10FFFF) throw wrong();
    append_utf8(out, code);
  }
  return call.evaluation.text(std::move(out));
}

Value encode_url(Call& call) { return encode(call, reserved_marks); }
Value encode_url_component(Call& call) { return encode(call, ""); }
Value decode_url(Call& call) { return decode(call, reserved_marks, "decodeUrl"); }
Value decode_url_component(Call& call) { return decode(call, "", "decodeUrlComponent"); }

}  // namespace

std::vector<Builtin> text_functions() {
  return {{"string", "<x-b?:s>", 1, 2, string_function},
          {"substring", "<s-nn?:s>", 3, 3, substring_function},
          {"substringBefore", "<s-s:s>", 2, 2, substring_before},
          {"substringAfter", "<s-s:s>", 2, 2, substring_after},
          {"lowercase", "<s-:s>", 1, 1, lowercase},
          {"uppercase", "<s-:s>", 1, 1, uppercase},
          {"length", "<s-:n>", 1, 1, length_function},
          {"trim", "<s-:s>", 1, 1, trim_function},
          {"pad", "<s-ns?:s>", 3, 3, pad_function},
          {"join", "<a<s>s?:s>", 2, 2, join_function},
          {"base64encode", "<s-:s>", 1, 1, base64_encode_function},
          {"base64decode", "<s-:s>", 1, 1, base64_decode_function},
          {"encodeUrlComponent", "<s-:s>", 1, 1, encode_url_component},
          {"encodeUrl", "<s-:s>", 1, 1, encode_url},
          {"decodeUrlComponent", "<s-:s>", 1, 1, decode_url_component},
          {"decodeUrl", "<s-:s>", 1, 1, decode_url}};
}

}  // namespace wick::eventing::jsonata
