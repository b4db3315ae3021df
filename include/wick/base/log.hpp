// One event, one line, on stderr: fixed words first, then fields. `level=info msg="instance ready"
// revision=hello-00001`. Lines are at most 8 KiB (longer values are cut), so one write(2) keeps them whole.
#pragma once

#include <concepts>
#include <initializer_list>
#include <string>
#include <string_view>

namespace wick::log {

enum class Level { debug, info, warn, error };

struct Field {
  Field(std::string_view key, std::string_view value) : key(key), value(value) {}
  Field(std::string_view key, const std::string& value) : key(key), value(value) {}
  Field(std::string_view key, const char* value) : key(key), value(value) {}
  template <std::integral T>
  Field(std::string_view key, T value) : key(key), value(std::to_string(value)) {}
  Field(std::string_view key, double value);

  std::string_view key;
  std::string value;
};

/// Lines below `level` are dropped. Info by default.
void set_level(Level level);
/// True when stderr should carry JSON lines in place of logfmt.
void set_json(bool json);

void write(Level level, std::string_view message, std::initializer_list<Field> fields = {});

inline void debug(std::string_view message, std::initializer_list<Field> fields = {}) {
  write(Level::debug, message, fields);
}
inline void info(std::string_view message, std::initializer_list<Field> fields = {}) {
  write(Level::info, message, fields);
}
inline void warn(std::string_view message, std::initializer_list<Field> fields = {}) {
  write(Level::warn, message, fields);
}
inline void error(std::string_view message, std::initializer_list<Field> fields = {}) {
  write(Level::error, message, fields);
}

}  // namespace wick::log
