#include "eventing/jsonata_value.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>

#include "eventing/jsonata_evaluate.hpp"

namespace wick::eventing::jsonata {

namespace {

/// "0", "7", "42" below 2^32 - 1: what JavaScript takes for an index of an array.
std::optional<std::uint32_t> index_of(std::string_view key) {
  if (key.empty() || key.size() > 10 || key.front() < '0' || key.front() > '9') return std::nullopt;
  if (key.size() > 1 && key.front() == '0') return std::nullopt;
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), number);
  if (error != std::errc() || end != key.data() + key.size() || number >= 0xFFFFFFFFull) return std::nullopt;
  return static_cast<std::uint32_t>(number);
}

void write_text(std::string_view text, std::string& out) {
  out += '"';
  for (const char c : text) {
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\b':
        out += "\\b";
        break;
      case '\f':
        out += "\\f";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      default:
        if (static_cast<unsigned char>(c) < 0x20)
          out += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
        else
          out += c;
    }
  }
  out += '"';
}

struct Writer {
  bool shown;  // as $string does
  Style style = Style::compact;
  std::string out = {};

  bool is_left_out(const Value& value) const { return value.missing() || (!shown && value.is(Type::function)); }
  void new_line(int depth) {
    if (style == Style::compact) return;
    out += '\n';
    out.append(static_cast<std::size_t>(depth) * 2, ' ');
  }
  void write(const Value& value, int depth) {
    switch (value.type()) {
      case Type::missing:
      case Type::null:
        out += "null";
        break;
      case Type::boolean:
        out += value.truth() ? "true" : "false";
        break;
      case Type::number:
        if (!std::isfinite(value.number())) {
          if (shown && std::isinf(value.number())) throw Fault{.code = "D1001", .value = value};
          out += "null";
        } else {
          const double number = value.number();
          const auto text = number_text(shown ? to_15_digits(number) : number);
          out += text == "-0" ? "0" : text;
        }
        break;
      case Type::text:
        write_text(value.text(), out);
        break;
      case Type::function:
        out += shown ? "\"\"" : "null";
        break;
      case Type::array:
        write_items(value.array().items, depth);
        break;
      case Type::object:
        write_members(value.object(), depth);
        break;
    }
  }
  void write_items(const std::vector<Value>& items, int depth) {
    out += '[';
    for (std::size_t i = 0; i < items.size(); ++i) {
      if (i > 0) out += ',';
      new_line(depth + 1);
      write(items[i], depth + 1);
    }
    if (!items.empty()) new_line(depth);
    out += ']';
  }
  void write_members(const Object& object, int depth) {
    out += '{';
    bool first = true;
    for (const auto& [key, value] : object.members) {
      if (is_left_out(value)) continue;
      if (!first) out += ',';
      first = false;
      new_line(depth + 1);
      write_text(key, out);
      out += style == Style::pretty ? ": " : ":";
      write(value, depth + 1);
    }
    if (!first) new_line(depth);
    out += '}';
  }
};

}  // namespace

Value::Value() = default;
Value::Value(Null) : held_(Null()) {}
Value::Value(bool truth) : held_(truth) {}
Value::Value(double number) : held_(number) {}
Value::Value(int number) : held_(static_cast<double>(number)) {}
Value::Value(std::string text) : held_(Ref<Text>(new Text(std::move(text)))) {}
Value::Value(std::string_view text) : Value(std::string(text)) {}
Value::Value(const char* text) : Value(std::string(text)) {}
Value::Value(Ref<Text> text) : held_(std::move(text)) {}
Value::Value(Ref<Array> array) : held_(std::move(array)) {}
Value::Value(Ref<Object> object) : held_(std::move(object)) {}
Value::Value(Ref<Function> function) : held_(std::move(function)) {}
Value::Value(const Value&) = default;
Value::Value(Value&&) noexcept = default;
Value& Value::operator=(const Value&) = default;
Value& Value::operator=(Value&&) noexcept = default;
Value::~Value() = default;

bool Value::is_sequence() const { return is(Type::array) && array().sequence; }
bool Value::is_tuple_stream() const { return is(Type::array) && array().tuple_stream; }

std::ptrdiff_t Object::place_of(std::string_view key) const {
  if (members.size() <= scanned_max) {
    for (std::size_t i = 0; i < members.size(); ++i)
      if (members[i].first == key) return static_cast<std::ptrdiff_t>(i);
    return -1;
  }
  if (places_.size() != members.size()) {
    places_.clear();
    for (std::size_t i = 0; i < members.size(); ++i) places_.emplace(members[i].first, i);
  }
  const auto found = places_.find(std::string(key));
  return found == places_.end() ? -1 : static_cast<std::ptrdiff_t>(found->second);
}

const Value* Object::find(std::string_view key) const {
  const auto place = place_of(key);
  return place < 0 ? nullptr : &members[static_cast<std::size_t>(place)].second;
}

void Object::set(std::string_view key, Value value) {
  depth = std::max(depth, 1 + depth_of(value));
  if (const auto place = place_of(key); place >= 0) {
    members[static_cast<std::size_t>(place)].second = std::move(value);
    return;
  }
  const auto index = index_of(key);
  if (!index) {
    members.emplace_back(std::string(key), std::move(value));
    if (!places_.empty()) places_.emplace(std::string(key), members.size() - 1);
    return;
  }
  const auto after = std::find_if(members.begin(), members.end(), [&](const auto& member) {
    const auto other = index_of(member.first);
    return !other || *other > *index;
  });
  const bool moves = after != members.end();
  members.emplace(after, std::string(key), std::move(value));
  if (moves)
    places_.clear();
  else if (!places_.empty())
    places_.emplace(std::string(key), members.size() - 1);
}

void Object::erase(std::string_view key) {
  const auto place = place_of(key);
  if (place < 0) return;
  members.erase(members.begin() + place);
  places_.clear();
}

int depth_of(const Value& value) {
  if (value.is(Type::array)) return value.array().depth;
  return value.is(Type::object) ? value.object().depth : 0;
}

void Array::add(Value value) {
  depth = std::max(depth, 1 + depth_of(value));
  items.push_back(std::move(value));
}

Ref<Array> new_sequence() {
  Ref<Array> made(new Array);
  made->sequence = true;
  return made;
}

Ref<Array> new_sequence(Value first) {
  auto made = new_sequence();
  made->add(std::move(first));
  return made;
}

Ref<Array> new_array(std::vector<Value> items) {
  Ref<Array> made(new Array);
  for (const auto& item : items) made->depth = std::max(made->depth, 1 + depth_of(item));
  made->items = std::move(items);
  return made;
}

std::string number_text(double number) {
  if (std::isnan(number)) return "NaN";
  if (std::isinf(number)) return number > 0 ? "Infinity" : "-Infinity";
  if (number == 0) return "0";
  // ECMA-262 Number::toString: the shortest digits, and where the point goes.
  char buffer[40];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, std::abs(number), std::chars_format::scientific).ptr;
  const std::string_view text(buffer, static_cast<std::size_t>(end - buffer));
  const auto e = text.find('e');
  std::string digits;
  for (const char c : text.substr(0, e))
    if (c != '.') digits += c;
  int exponent = 0;
  const auto tail = text.substr(text[e + 1] == '+' ? e + 2 : e + 1);
  std::from_chars(tail.data(), tail.data() + tail.size(), exponent);
  const int count = static_cast<int>(digits.size()), point = exponent + 1;
  std::string out = number < 0 ? "-" : "";
  if (count <= point && point <= 21) return out + digits + std::string(static_cast<std::size_t>(point - count), '0');
  if (0 < point && point <= 21)
    return out + digits.substr(0, static_cast<std::size_t>(point)) + "." +
           digits.substr(static_cast<std::size_t>(point));
  if (-6 < point && point <= 0) return out + "0." + std::string(static_cast<std::size_t>(-point), '0') + digits;
  out += digits.front();
  if (count > 1) out += "." + digits.substr(1);
  return out + fmt::format("e{}{}", exponent < 0 ? '-' : '+', std::abs(exponent));
}

double to_15_digits(double number) {
  if (!std::isfinite(number) || number == std::trunc(number)) return number;
  const auto text = fmt::format("{:.14e}", number);
  double out = number;
  std::from_chars(text.data(), text.data() + text.size(), out);
  return out;
}

Value from_json(const boost::json::value& json) {
  switch (json.kind()) {
    case boost::json::kind::null:
      return Null();
    case boost::json::kind::bool_:
      return json.get_bool();
    case boost::json::kind::int64:
      return static_cast<double>(json.get_int64());
    case boost::json::kind::uint64:
      return static_cast<double>(json.get_uint64());
    case boost::json::kind::double_:
      return json.get_double();
    case boost::json::kind::string:
      return std::string(json.get_string());
    case boost::json::kind::array: {
      auto made = new_array();
      made->items.reserve(json.get_array().size());
      for (const auto& item : json.get_array()) made->add(from_json(item));
      return made;
    }
    case boost::json::kind::object: {
      Ref<Object> made(new Object);
      made->members.reserve(json.get_object().size());
      for (const auto& [key, value] : json.get_object()) made->set(std::string_view(key), from_json(value));
      return made;
    }
  }
  return {};
}

std::string to_json(const Value& value) {
  Writer writer{.shown = false};
  writer.write(value, 0);
  return std::move(writer.out);
}

std::string to_string_text(const Value& value, Style style) {
  if (value.is(Type::text)) return value.text();
  if (value.is(Type::function)) return {};
  if (value.is(Type::number) && !std::isfinite(value.number())) throw Fault{.code = "D3001", .value = value};
  Writer writer{.shown = true, .style = style};
  const bool wrapped = value.is(Type::array) && value.array().outer_wrapper && !value.array().items.empty();
  writer.write(wrapped ? value.array().items.front() : value, 0);
  return std::move(writer.out);
}

}  // namespace wick::eventing::jsonata
