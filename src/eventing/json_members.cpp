#include "json_members.hpp"

namespace wick::eventing {

namespace {

class Scanner {
 public:
  explicit Scanner(std::string_view text) : text_(text) {}

  void skip_space() {
    while (at_ < text_.size() && std::string_view(" \t\r\n").find(text_[at_]) != std::string_view::npos) ++at_;
  }

  bool take(char wanted) {
    skip_space();
    if (at_ >= text_.size() || text_[at_] != wanted) return false;
    ++at_;
    return true;
  }

  std::string_view string() {
    skip_space();
    const std::size_t start = at_;
    pass_string();
    return text_.substr(start, at_ - start);
  }

  std::string_view value() {
    skip_space();
    const std::size_t start = at_;
    int depth = 0;
    while (at_ < text_.size()) {
      const char c = text_[at_];
      if (depth == 0 && at_ > start && ends_value(c)) break;
      if (c == '"') {
        pass_string();
      } else {
        depth += (c == '{' || c == '[') - (c == '}' || c == ']');
        ++at_;
      }
      if (depth == 0 && (c == '"' || c == '}' || c == ']')) break;
    }
    return text_.substr(start, at_ - start);
  }

 private:
  static bool ends_value(char c) { return std::string_view(",]} \t\r\n").find(c) != std::string_view::npos; }

  void pass_string() {
    if (at_ < text_.size()) ++at_;
    while (at_ < text_.size() && text_[at_] != '"') at_ += text_[at_] == '\\' ? 2 : 1;
    at_ = at_ < text_.size() ? at_ + 1 : text_.size();
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

}  // namespace

std::vector<JsonMember> members_of(std::string_view object) {
  std::vector<JsonMember> members;
  Scanner scanner(object);
  if (!scanner.take('{') || scanner.take('}')) return members;
  do {
    const std::string_view name = scanner.string();
    if (!scanner.take(':')) break;
    members.push_back({name, scanner.value()});
  } while (scanner.take(','));
  return members;
}

std::vector<std::string_view> elements_of(std::string_view array) {
  std::vector<std::string_view> elements;
  Scanner scanner(array);
  if (!scanner.take('[') || scanner.take(']')) return elements;
  do elements.push_back(scanner.value());
  while (scanner.take(','));
  return elements;
}

}  // namespace wick::eventing
