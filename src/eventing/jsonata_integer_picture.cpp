// Integers as pictures say (XPath F&O 4.6): digits, letters, Roman numerals and English words, and back.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <unordered_map>

#include "eventing/jsonata_functions.hpp"
#include "eventing/jsonata_unicode.hpp"

namespace wick::eventing::jsonata {

namespace {

constexpr const char* few[] = {"Zero",     "One",     "Two",     "Three",     "Four",     "Five",    "Six",
                               "Seven",    "Eight",   "Nine",    "Ten",       "Eleven",   "Twelve",  "Thirteen",
                               "Fourteen", "Fifteen", "Sixteen", "Seventeen", "Eighteen", "Nineteen"};
constexpr const char* ordinals[] = {"Zeroth",    "First",     "Second",      "Third",      "Fourth",
                                    "Fifth",     "Sixth",     "Seventh",     "Eighth",     "Ninth",
                                    "Tenth",     "Eleventh",  "Twelfth",     "Thirteenth", "Fourteenth",
                                    "Fifteenth", "Sixteenth", "Seventeenth", "Eighteenth", "Nineteenth"};
constexpr const char* decades[] = {"Twenty",  "Thirty", "Forty",  "Fifty",  "Sixty",
                                   "Seventy", "Eighty", "Ninety", "Hundred"};
constexpr const char* magnitudes[] = {"Thousand", "Million", "Billion", "Trillion"};
constexpr std::pair<int, const char*> romans[] = {{1000, "m"}, {900, "cm"}, {500, "d"}, {400, "cd"}, {100, "c"},
                                                  {90, "xc"},  {50, "l"},   {40, "xl"}, {10, "x"},   {9, "ix"},
                                                  {5, "v"},    {4, "iv"},   {1, "i"}};
// The zeros of Unicode's decimal digits.
constexpr char32_t zeros[] = {0x30,   0x0660, 0x06F0, 0x07C0, 0x0966, 0x09E6, 0x0A66, 0x0AE6, 0x0B66, 0x0BE6,
                              0x0C66, 0x0CE6, 0x0D66, 0x0DE6, 0x0E50, 0x0ED0, 0x0F20, 0x1040, 0x1090, 0x17E0,
                              0x1810, 0x1946, 0x19D0, 0x1A80, 0x1A90, 0x1B50, 0x1BB0, 0x1C40, 0x1C50, 0xA620,
                              0xA8D0, 0xA900, 0xA9D0, 0xA9F0, 0xAA50, 0xABF0, 0xFF10};
constexpr double roman_max = 100'000;  // beyond, only more and more m

std::string below_hundred(int number, bool joined, bool ordinal) {
  std::string words = joined ? " and " : "";
  if (number <= 19) return words + (ordinal ? ordinals[number] : few[number]);
  words += decades[number / 10 - 2];
  if (number % 10 > 0) return words + "-" + below_hundred(number % 10, false, ordinal);
  if (!ordinal) return words;
  words.pop_back();
  return words + "ieth";
}

std::string in_words(double number, bool joined, bool ordinal) {
  if (number < 100) return below_hundred(static_cast<int>(number), joined, ordinal);
  std::string words = joined ? ", " : "";
  double rest = 0;
  if (number < 1000) {
    words += std::string(few[static_cast<int>(number / 100)]) + " Hundred";
    rest = std::fmod(number, 100);
  } else {
    const int magnitude = std::min(static_cast<int>(std::floor(std::log10(number) / 3)), 4);
    const double factor = std::pow(10, magnitude * 3);
    const double count = std::floor(number / factor);
    rest = number - count * factor;
    words += in_words(count, false, false) + " " + magnitudes[magnitude - 1];
  }
  if (rest > 0) return words + in_words(rest, true, ordinal);
  return ordinal ? words + "th" : words;
}

const std::unordered_map<std::string, double>& word_values() {
  static const auto made = [] {
    std::unordered_map<std::string, double> all;
    for (int i = 0; i < 20; ++i) all[to_lower_text(few[i])] = all[to_lower_text(ordinals[i])] = i;
    for (int i = 0; i < 9; ++i) {
      auto word = to_lower_text(decades[i]);
      all[word] = (i + 2) * 10;
      word.pop_back();
      all[word + "ieth"] = (i + 2) * 10;
    }
    all["hundredth"] = 100;
    for (int i = 0; i < 4; ++i) {
      const auto word = to_lower_text(magnitudes[i]);
      all[word] = all[word + "th"] = std::pow(10, (i + 1) * 3);
    }
    return all;
  }();
  return made;
}

double of_words(std::string_view text) {
  std::vector<double> segments{0};
  const auto add = [&](std::string_view word) {
    const auto found = word_values().find(std::string(word));
    const double value = found == word_values().end() ? std::nan("") : found->second;
    if (value < 100) {
      double top = segments.back();
      segments.pop_back();
      if (top >= 1000) {
        segments.push_back(top);
        top = 0;
      }
      segments.push_back(top + value);
    } else {
      segments.back() *= value;
    }
  };
  // Between words: ", ", " and ", a blank or a hyphen.
  for (std::size_t start = 0, i = 0;; ++i) {
    std::size_t gap = 0;
    const auto rest = text.substr(std::min(i, text.size()));
    if (rest.starts_with(", "))
      gap = 2;
    else if (rest.starts_with(" and "))
      gap = 5;
    else if (rest.starts_with(' ') || rest.starts_with('-') || rest.starts_with('\\') || rest.starts_with('\t'))
      gap = 1;
    if (gap == 0 && i < text.size()) continue;
    add(text.substr(start, i - start));
    if (i >= text.size()) break;
    i += gap - 1;
    start = i + 1;
  }
  return std::accumulate(segments.begin(), segments.end(), 0.0);
}

std::string roman(double number) {
  std::string out;
  number = std::min(number, roman_max);
  for (const auto& [value, letters] : romans)
    for (; number >= value; number -= value) out += letters;
  return out;
}

double of_roman(std::string_view text) {
  double total = 0, most = 1;
  for (auto i = text.size(); i-- > 0;) {
    double value = std::nan("");
    for (const auto& [number, letters] : romans)
      if (letters[1] == '\0' && (text[i] | 0x20) == letters[0]) value = number;
    if (value < most) {
      total -= value;
    } else {
      most = value;
      total += value;
    }
  }
  return total;
}

std::string letters_of(double number, char first) {
  std::string out;
  for (; number > 0; number = std::floor((number - 1) / 26))
    out.insert(out.begin(), static_cast<char>(first + static_cast<int>(std::fmod(number - 1, 26))));
  return out;
}

int regular_group(const std::vector<IntegerPicture::Separator>& separators) {
  if (separators.empty()) return 0;
  int factor = 0;
  for (const auto& one : separators) {
    if (one.character != separators.front().character) return 0;
    factor = std::gcd(factor, one.position);
  }
  for (std::size_t i = 1; i <= separators.size(); ++i)
    if (std::ranges::none_of(separators, [&](const auto& one) { return one.position == static_cast<int>(i) * factor; }))
      return 0;
  return factor;
}

}  // namespace

IntegerPicture IntegerPicture::read(std::string_view picture) {
  IntegerPicture out;
  const auto semicolon = picture.rfind(';');
  const auto primary = picture.substr(0, semicolon);
  if (semicolon != picture.npos) out.ordinal = picture.substr(semicolon + 1).starts_with('o');
  const auto set = [&](Form form, Case letter_case) {
    out.form = form;
    out.letter_case = letter_case;
    return out;
  };
  if (primary == "A" || primary == "a") return set(Form::letters, primary == "A" ? Case::upper : Case::lower);
  if (primary == "I" || primary == "i") return set(Form::roman, primary == "I" ? Case::upper : Case::lower);
  if (primary == "W") return set(Form::words, Case::upper);
  if (primary == "Ww") return set(Form::words, Case::title);
  if (primary == "w") return set(Form::words, Case::lower);
  int position = 0;
  bool digits_known = false;
  auto characters = to_code_points(primary);
  std::ranges::reverse(characters);
  for (const char32_t c : characters) {
    const auto* zero = std::ranges::find_if(zeros, [&](char32_t first) { return c >= first && c <= first + 9; });
    if (zero != std::end(zeros)) {
      if (digits_known && out.zero != *zero) throw Fault{.code = "D3131"};
      out.zero = *zero;
      digits_known = true;
      ++out.mandatory_digits;
      ++position;
    } else if (c == U'#') {
      ++out.optional_digits;
      ++position;
    } else {
      out.separators.push_back({.position = position, .character = c});
    }
  }
  if (out.mandatory_digits == 0) {
    out.form = Form::sequence;
    out.token = std::string(primary);
    return out;
  }
  out.every = regular_group(out.separators);
  return out;
}

std::string IntegerPicture::format(double number) const {
  const bool negative = number < 0;
  number = std::abs(number);
  std::string out;
  switch (form) {
    case Form::letters:
      out = letters_of(number, letter_case == Case::upper ? 'A' : 'a');
      break;
    case Form::roman:
      out = roman(number);
      if (letter_case == Case::upper) out = to_upper_text(out);
      break;
    case Form::words:
      out = std::isfinite(number) ? in_words(number, false, ordinal) : std::string();
      if (letter_case != Case::title) out = letter_case == Case::upper ? to_upper_text(out) : to_lower_text(out);
      break;
    case Form::sequence:
      throw Fault{.code = "D3130", .value = token};
    case Form::decimal: {
      std::u32string digits;
      for (const char c : number_text(number)) digits += static_cast<char32_t>(c) + (zero - U'0');
      constexpr std::size_t digits_max = 1000;
      const auto wanted = std::min(static_cast<std::size_t>(mandatory_digits), digits_max);
      if (digits.size() < wanted) digits.insert(0, wanted - digits.size(), zero);
      const auto size = digits.size();
      std::u32string grouped;
      for (std::size_t i = 0; i < size; ++i) {
        const auto right = static_cast<int>(size - i);
        if (every > 0 && i > 0 && right % every == 0) grouped += separators.front().character;
        if (every == 0)
          for (auto one = separators.rbegin(); one != separators.rend(); ++one)
            if (one->position == right) grouped += one->character;
        grouped += digits[i];
      }
      if (every == 0)
        for (const auto& one : separators)
          if (one.position == 0) grouped += one.character;
      out = to_utf8(grouped);
      if (ordinal) {
        const char last = out.back();
        const bool teen = out.size() > 1 && out[out.size() - 2] == '1';
        out += teen ? "th" : last == '1' ? "st" : last == '2' ? "nd" : last == '3' ? "rd" : "th";
      }
      break;
    }
  }
  return negative ? "-" + out : out;
}

double IntegerPicture::parse(std::string_view text) const {
  switch (form) {
    case Form::letters: {
      double number = 0;
      const char first = letter_case == Case::upper ? 'A' : 'a';
      for (const char c : text) number = number * 26 + (c - first + 1);
      return number;
    }
    case Form::roman:
      return of_roman(text);
    case Form::words:
      return of_words(to_lower_text(text));
    case Form::sequence:
      throw Fault{.code = "D3130", .value = token};
    case Form::decimal:
      break;
  }
  auto digits = to_code_points(text);
  if (ordinal) digits.resize(digits.size() > 2 ? digits.size() - 2 : 0);
  std::erase_if(digits, [&](char32_t c) {
    if (every > 0) return c == U',';
    return std::ranges::any_of(separators, [&](const Separator& one) { return one.character == c; });
  });
  double number = 0;
  std::size_t i = 0;
  const bool negative = !digits.empty() && digits.front() == U'-';
  if (!digits.empty() && (negative || digits.front() == U'+')) i = 1;
  const auto start = i;
  for (; i < digits.size() && digits[i] >= zero && digits[i] <= zero + 9; ++i)
    number = number * 10 + static_cast<double>(digits[i] - zero);
  if (i == start) return std::nan("");
  return negative ? -number : number;
}

std::string IntegerPicture::expression() const {
  const bool upper = letter_case == Case::upper;
  switch (form) {
    case Form::letters:
      return upper ? "[A-Z]+" : "[a-z]+";
    case Form::roman:
      return upper ? "[MDCLXVI]+" : "[mdclxvi]+";
    case Form::words: {
      // The longest first: an alternative that matched is not left again where the rest fits.
      std::vector<std::string> words;
      for (const auto& [word, value] : word_values()) words.push_back(word);
      std::ranges::sort(
          words, [](const auto& a, const auto& b) { return a.size() > b.size() || (a.size() == b.size() && a < b); });
      std::string all = "(?:";
      for (const auto& word : words) all += word + "|";
      return all + "and|[\\-, ])+";
    }
    case Form::sequence:
      throw Fault{.code = "D3130", .value = token};
    case Form::decimal:
      break;
  }
  std::string out = "[0-9]" + (parse_width > 0 ? "{" + std::to_string(parse_width) + "}" : std::string("+"));
  return ordinal ? out + "(?:th|st|nd|rd)" : out;
}

}  // namespace wick::eventing::jsonata
